(module ;; grows a table
  (table $t 1 funcref)
  (memory (export "memory") 3)
  (data (i32.const 16) "{\"abi\":1,\"functions\":[{\"type\":\"test/refused\"}]}")
  (func (export "weir_in") (param i32) (result i32) (i32.const 65536))
  (func (export "weir_out") (param i32) (result i32) (i32.const 131072))
  (func (export "weir_abi") (result i32) (i32.const 1)) (func (export "weir_describe") (result i64) (i64.const 0x100000002f)) (func (export "weir_batch") (param i32) (result i32) (i32.const 1))
  (func (drop (table.grow $t (ref.null func) (i32.const 1000)))))
