package deploy_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/deploy/deploytest"
)

// FuzzDeployment sends bodies that may hold anything: none is an error of the server.
func FuzzDeployment(f *testing.F) {
	modules, err := deploy.OpenModules(f.TempDir(), prepare)
	if err != nil {
		f.Fatal(err)
	}
	stored, err := modules.Put(f.Context(), strings.NewReader("\x00asm"))
	if err != nil {
		f.Fatal(err)
	}
	api, err := deploy.New(deploy.Config{Modules: modules}, &deploytest.Controller{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(true, jobText("ads", stored.Digest))
	f.Add(false, `{"name":"ads","modules":[{"digest":"`+stored.Digest+`"}]}`)
	f.Add(false, `{"name":"ads","modules":[{"overrides":{"a":{}},"description":{"functions":[{}]}}]}`)
	f.Add(false, `[]`)
	f.Fuzz(func(t *testing.T, yaml bool, text string) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/jobs/ads", strings.NewReader(text))
		request.Header.Set("Content-Type", map[bool]string{true: "application/yaml", false: "application/json"}[yaml])
		recorder := httptest.NewRecorder()
		api.ServeHTTP(recorder, request)
		if recorder.Code >= http.StatusInternalServerError {
			t.Errorf("%d for %q: %s", recorder.Code, text, recorder.Body)
		}
	})
}
