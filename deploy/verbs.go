package deploy

import (
	"net/http"
	"strings"
)

// verbMux is a ServeMux that also takes patterns which end in a verb, such as "POST /v1/jobs/{job}:stop". ServeMux has no
// wildcard that ends before a suffix, so all verbs of one path share a pattern whose last segment is split here; the
// OpenAPI document keeps the path as it is written. A verb is what follows the last colon.
type verbMux struct {
	*http.ServeMux
	verbs map[string]map[string]http.HandlerFunc // pattern without verb -> verb
}

// HandleFunc registers like ServeMux.HandleFunc.
func (m *verbMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	base, verb, ok := strings.Cut(pattern, "}:")
	if !ok {
		m.ServeMux.HandleFunc(pattern, handler)
		return
	}
	base += "}"
	if m.verbs[base] == nil {
		m.verbs[base] = map[string]http.HandlerFunc{}
		m.ServeMux.HandleFunc(base, m.dispatch(base))
	}
	m.verbs[base][verb] = handler
}

// dispatch serves all verbs of one pattern.
func (m *verbMux) dispatch(base string) http.HandlerFunc {
	name := base[strings.LastIndexByte(base, '{')+1 : len(base)-1]
	return func(w http.ResponseWriter, r *http.Request) {
		value := r.PathValue(name)
		at := strings.LastIndexByte(value, ':')
		handler := http.HandlerFunc(notFound)
		if at >= 0 {
			if h := m.verbs[base][value[at+1:]]; h != nil {
				r.SetPathValue(name, value[:at])
				handler = h
			}
		}
		handler(w, r)
	}
}
