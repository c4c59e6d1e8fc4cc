// This is some code.
package wrong
