// Package good has a drawer.
package good
