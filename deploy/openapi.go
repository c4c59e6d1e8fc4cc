package deploy

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// describeOthers adds to the OpenAPI document what other handlers serve on this port.
func describeOthers(api huma.API, metrics bool) {
	document := api.OpenAPI()
	for _, prefix := range []string{"/in", "/n/{tenant}/in"} {
		document.AddOperation(invocation(prefix))
	}
	document.AddOperation(&huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: "/v1/openapi.json", Summary: "Read this document", Tags: []string{"server"},
		Responses: map[string]*huma.Response{"200": answerOf("The document.", "application/openapi+json", huma.TypeObject)},
	})
	if metrics {
		document.AddOperation(&huma.Operation{
			OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Summary: "Read the metrics", Tags: []string{"server"},
			Responses: map[string]*huma.Response{"200": answerOf("Prometheus's text format.", "text/plain", huma.TypeString)},
		})
	}
}

// invocation describes what router/httpio serves: docs/http.md says more.
func invocation(prefix string) *huma.Operation {
	text := &huma.Schema{Type: huma.TypeString}
	bytes := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	o := &huma.Operation{
		OperationID: "invoke",
		Method:      http.MethodPost,
		Path:        prefix + "/{namespace}/{function}/{key}",
		Summary:     "Invoke a function",
		Description: "The body is the value of the message. The answer leaves after the commit of all that the call did.",
		Tags:        []string{"invocations"},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: bytes}}},
		Parameters: []*huma.Param{
			{Name: "namespace", In: "path", Required: true, Schema: text, Description: "of the function type"},
			{Name: "function", In: "path", Required: true, Schema: text, Description: "name of the function type"},
			{Name: "key", In: "path", Required: true, Schema: text, Description: "percent-encoded"},
			{Name: "Idempotency-Key", In: "header", Schema: text, Description: "a second call with the same key gets the answer of the first"},
			{Name: "Prefer", In: "header", Schema: text, Description: "respond-async: the reply is not sent"},
		},
		Responses: map[string]*huma.Response{
			"200": answerOf("The function's reply.", "application/octet-stream", huma.TypeString),
			"202": {Description: "Committed, with Prefer: respond-async."},
			"204": {Description: "Committed, without a reply."},
		},
	}
	if prefix != "/in" {
		o.OperationID = "invoke-of-tenant"
		o.Summary = "Invoke a function of a tenant's job"
		o.Parameters = append(o.Parameters, &huma.Param{Name: "tenant", In: "path", Required: true, Schema: text, Description: "namespace of the job"})
	}
	for _, status := range []int{
		http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	} {
		o.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/ErrorModel"}}},
		}
	}
	return o
}

func answerOf(description, kind, schema string) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: schema}}}}
}
