package b ; this need not even parse
