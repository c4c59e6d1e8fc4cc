package deploy

import (
	"net/http"

	"github.com/weir-run/weir/functions"
)

func parseDocument(source []byte) (*functions.Job, error) {
	return nil, newProblem(http.StatusUnsupportedMediaType, "content-type", "YAML is not read yet", "send JSON")
}

func validate(*functions.Job) error { return nil }
