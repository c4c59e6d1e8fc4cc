;; A guest in one page: the first byte of its batch says what it does. Most of it misbehaves.
(module
  (import "weir" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 4)
  (table 4 funcref)
  (elem (i32.const 0) $ping $pong $wide $leaf)
  (type $unary (func (param i32) (result i32)))
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 16) "{\"abi\":1,\"functions\":[{\"type\":\"test/hostile\"}]}")
  (data (i32.const 128) "spam")
  (func (export "weir_abi") (result i32) (i32.const 1))
  (func (export "weir_describe") (result i64) (i64.const 0x100000002f))
  (func (export "weir_in") (param i32) (result i32) (i32.const 65536))
  (func (export "weir_out") (param i32) (result i32) (i32.const 131072))
  (func $ping (type $unary) (call $pong (i32.add (local.get 0) (i32.const 1))))
  (func $pong (type $unary) (call_indirect (type $unary) (local.get 0) (i32.const 0)))
  ;; a tree of calls: 2^depth, within a call depth that is allowed
  (func $wide (type $unary)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
    (i32.add (call $wide (i32.sub (local.get 0) (i32.const 1))) (call $wide (i32.sub (local.get 0) (i32.const 1)))))
  (func $leaf (type $unary) (i32.add (local.get 0) (i32.const 1)))
  ;; frames of 1000 locals, all alive
  (func $fat (param i32) (result i32) (local i64 i64 i64 i64) (local $many i32)
    (local.set 1 (i64.extend_i32_u (local.get 0)))
    (i32.add (call $fat (i32.add (local.get 0) (i32.const 1))) (i32.wrap_i64 (local.get 1))))
  (func (export "weir_batch") (param $n i32) (result i32) (local $op i32) (local $i i32)
    (local.set $op (i32.load8_u (i32.const 65536)))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    ;; e: echo
    (if (i32.eq (local.get $op) (i32.const 101)) (then
      (memory.copy (i32.const 131072) (i32.const 65536) (local.get $n))
      (return (local.get $n))))
    ;; n: how often was this instance called, as one digit
    (if (i32.eq (local.get $op) (i32.const 110)) (then
      (i32.store8 (i32.const 131072) (i32.add (global.get $calls) (i32.const 48)))
      (return (i32.const 1))))
    ;; l: a loop without end
    (if (i32.eq (local.get $op) (i32.const 108)) (then (loop $l (br $l))))
    ;; L: a loop around a leaf
    (if (i32.eq (local.get $op) (i32.const 76)) (then
      (loop $l (local.set $i (call $leaf (local.get $i))) (br $l))))
    ;; b: a loop by br_table
    (if (i32.eq (local.get $op) (i32.const 98)) (then
      (loop $l (block $b (br_table $b $l (i32.const 1))))))
    ;; r: mutual recursion, directly and through the table
    (if (i32.eq (local.get $op) (i32.const 114)) (then (return (call $ping (i32.const 0)))))
    ;; R: recursion with a frame
    (if (i32.eq (local.get $op) (i32.const 82)) (then (return (call $fat (i32.const 0)))))
    ;; w: a wide tree of calls
    (if (i32.eq (local.get $op) (i32.const 119)) (then (return (call $wide (i32.const 60)))))
    ;; f: a flood of fills
    (if (i32.eq (local.get $op) (i32.const 102)) (then
      (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))))
    ;; F: fills without a loop
    (if (i32.eq (local.get $op) (i32.const 70)) (then
      (drop (memory.grow (i32.const 900)))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (memory.fill (i32.const 131072) (i32.const 1) (i32.const 50000000))
      (return (i32.const 1))))
    ;; m: a memory bomb that traps when growth is refused
    (if (i32.eq (local.get $op) (i32.const 109)) (then
      (loop $l
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
        (br $l))))
    ;; g: grows for ever and does not care
    (if (i32.eq (local.get $op) (i32.const 103)) (then
      (loop $l (drop (memory.grow (i32.const 16))) (br $l))))
    ;; G: grows as far as it may, and returns how far in pages
    (if (i32.eq (local.get $op) (i32.const 71)) (then
      (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      (i32.store (i32.const 131072) (memory.size))
      (return (i32.const 4))))
    ;; s: a flood of log lines
    (if (i32.eq (local.get $op) (i32.const 115)) (then
      (loop $l (call $log (i32.const 0) (i32.const 128) (i32.const 4)) (br $l))))
    ;; S: 2000 log lines
    (if (i32.eq (local.get $op) (i32.const 83)) (then
      (loop $l
        (call $log (i32.const 0) (i32.const 128) (i32.const 4))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000))))
      (return (i32.const 1))))
    ;; o: a log line outside of the memory
    (if (i32.eq (local.get $op) (i32.const 111)) (then
      (call $log (i32.const 0) (i32.const -8) (i32.const 64))
      (return (i32.const 1))))
    ;; z: a result longer than its buffer   Z: an error code   0: no result   1: full for ever
    (if (i32.eq (local.get $op) (i32.const 122)) (then (return (i32.const 0x7fffffff))))
    (if (i32.eq (local.get $op) (i32.const 90)) (then (return (i32.const -3))))
    (if (i32.eq (local.get $op) (i32.const 48)) (then (return (i32.const 0))))
    (if (i32.eq (local.get $op) (i32.const 49)) (then (return (i32.const -1))))
    ;; d: divides by zero
    (if (i32.eq (local.get $op) (i32.const 100)) (then (return (i32.div_u (i32.const 1) (local.get $i)))))
    (unreachable)))
