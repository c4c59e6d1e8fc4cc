package weir_test

func init() {}
