package deploy

import (
	"errors"
	"net/http"

	"github.com/weir-run/weir/functions"
)

// documentName stands for a module.yaml whose file name the client has not told.
const documentName = "module.yaml"

// parseDocument reads the text of a module.yaml. References such as ${env:NAME} are refused but for credentials: the
// environment and the files of this machine are not the client's to read.
func parseDocument(source []byte) (*functions.Job, error) {
	job, err := functions.ParseJob(source, documentName, nil)
	return job, invalid(err)
}

// validate checks a job whose modules are described.
func validate(job *functions.Job) error { return invalid(job.Validate()) }

// invalid makes a problem of what is wrong with a job.
func invalid(err error) error {
	var parse *functions.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	return newProblem(http.StatusUnprocessableEntity, "job-invalid", "refused", parse.Error())
}
