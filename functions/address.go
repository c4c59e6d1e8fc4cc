package functions

import (
	"fmt"
	"strings"
)

// TypeName names a function type: a namespace and a name, written "namespace/name".
type TypeName struct {
	Namespace string
	Name      string
}

// maxNameBytes bounds each part of a type name, so that names fit every header that carries them.
const maxNameBytes = 255

// ParseTypeName reads "namespace/name". Both parts are non-empty and hold letters, digits, '.', '_' and '-'.
func ParseTypeName(s string) (TypeName, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok {
		return TypeName{}, fmt.Errorf("type name %q: want namespace/name", s)
	}
	for _, part := range []string{namespace, name} {
		if err := checkName(part); err != nil {
			return TypeName{}, fmt.Errorf("type name %q: %w", s, err)
		}
	}
	return TypeName{Namespace: namespace, Name: name}, nil
}

func checkName(part string) error {
	if part == "" {
		return fmt.Errorf("a part is empty")
	}
	if len(part) > maxNameBytes {
		return fmt.Errorf("a part is longer than %d bytes", maxNameBytes)
	}
	for _, c := range []byte(part) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("character %q is not allowed; use letters, digits, '.', '_' and '-'", c)
		}
	}
	return nil
}

func (t TypeName) String() string { return t.Namespace + "/" + t.Name }

// MarshalText and UnmarshalText make a TypeName "namespace/name" in JSON and YAML, also as a map key.
func (t TypeName) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *TypeName) UnmarshalText(b []byte) error {
	parsed, err := ParseTypeName(string(b))
	*t = parsed
	return err
}

// Address is one instance of a function type: the owner of one key's state.
type Address struct {
	Type TypeName
	ID   string
}

func (a Address) String() string { return a.Type.String() + "/" + a.ID }
