package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/functions"
)

// invocation is what weir invoke was told.
type invocation struct {
	function    functions.TypeName
	key         string
	content     io.Reader
	tenant      string
	idempotency string
	async       bool
}

// reply is what weir invoke shows.
type reply struct {
	Status int    `json:"status"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Body   string `json:"body,omitempty"`
}

func (s *shell) invoke() *cobra.Command {
	var in invocation
	cmd := &cobra.Command{
		Use:   "invoke NAMESPACE/FUNCTION KEY [BODY]",
		Short: "Call a function and print its reply, after commit",
		Long:  "Calls a function over HTTP. The reply comes after the commit of the call's effects. A BODY of - is read from standard input.",
		Example: `  weir invoke example/counter ann 3
  echo '{"add":2}' | weir invoke example/counter ann -`,
		Args:              arguments(2, 3),
		ValidArgsFunction: s.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			function, err := functions.ParseTypeName(args[0])
			if err != nil {
				return misused("%v", err)
			}
			in.function, in.key, in.content = function, args[1], http.NoBody
			if len(args) == 3 {
				in.content = bytes.NewReader([]byte(args[2]))
				if args[2] == "-" {
					in.content = s.in
				}
			}
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var got reply
			err = s.during("waiting for the reply of "+args[0], func() error {
				got, err = api.invoke(ctx, &in)
				return err
			})
			if err != nil {
				return err
			}
			return s.showReply(got)
		},
	}
	cmd.Flags().StringVar(&in.tenant, "tenant", "", "namespace of the job, when it is not default")
	cmd.Flags().StringVar(&in.idempotency, "idempotency-key", "", "the same key runs the call once, however often it is sent")
	cmd.Flags().BoolVar(&in.async, "async", false, "do not wait for the reply, only until the call cannot be lost")
	return cmd
}

// showReply prints the bytes of a reply as they are; a line ends behind them.
func (s *shell) showReply(got reply) error {
	if s.output != "table" {
		return s.show(got, nil)
	}
	if got.Body != "" && got.Body[len(got.Body)-1] != '\n' {
		got.Body += "\n"
	}
	if _, err := io.WriteString(s.out, got.Body); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

func (c *client) invoke(ctx context.Context, in *invocation) (reply, error) {
	path := route("in", in.function.Namespace, in.function.Name, in.key)
	if in.tenant != "" {
		path = route("n", in.tenant) + path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, in.content)
	if err != nil {
		return reply{}, fmt.Errorf("make request: %w", err)
	}
	if in.idempotency != "" {
		request.Header.Set("Idempotency-Key", in.idempotency)
	}
	if in.async {
		request.Header.Set("Prefer", "respond-async")
	}
	response, err := c.exchange(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return reply{}, c.unreachable(ctx, err)
	}
	// A server without the header is none of an error: the epoch is for information.
	epoch, _ := strconv.ParseUint(response.Header.Get("Weir-Epoch"), 10, 64)
	return reply{Status: response.StatusCode, Epoch: epoch, Body: string(text)}, nil
}
