// Package good says what it hides.
package good
