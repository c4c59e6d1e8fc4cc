(module ;; wants to bring its memory from elsewhere
  (import "env" "memory" (memory 1))
  (export "memory" (memory 0)))
