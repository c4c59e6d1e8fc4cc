// Package stray stands nowhere.
package stray
