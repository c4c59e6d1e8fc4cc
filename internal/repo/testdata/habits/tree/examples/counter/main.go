// Command counter is a guest.
package main

func init() {}
