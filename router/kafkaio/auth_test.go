package kafkaio_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// checkCredentials wants an ingress with right credentials to find its start, and one with wrong ones to end with ErrAuth.
func checkCredentials(t *testing.T, which string, in *kafkaio.Ingress) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	if which == "wrong" {
		wantAuth(t, <-done)
		return
	}
	until(t, "settle", func(context.Context) bool {
		_, settled := in.Positions()
		return settled
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ingress with right credentials: %v", err)
	}
}

// checkLane wants the same of a lane.
func checkLane(t *testing.T, which string, e *kafkaio.Egress) {
	t.Helper()
	within(t, "lane", func(ctx context.Context) error {
		l, err := e.Lane(t.Name())
		if err != nil {
			return err
		}
		err = l.Recover(ctx, false, 0, nil, nil)
		if which == "wrong" {
			wantAuth(t, err)
			err = nil
		}
		return errors.Join(err, l.Close(), e.Close())
	})
}

func wantAuth(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, router.ErrAuth) {
		t.Errorf("got error %v, want %v", err, router.ErrAuth)
	} else if strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v holds the password", err)
	}
}

func TestCredentialsAreResolvedWhenConnecting(t *testing.T) {
	_, k := fake(t, kfake.EnableSASL(), kfake.SeedTopics(1, "guarded"), kfake.Superuser("PLAIN", "weir", "right"),
		kfake.Superuser("SCRAM-SHA-256", "weir", "right"), kfake.Superuser("SCRAM-SHA-512", "weir", "right"))
	secrets := func(ref string) (string, error) {
		if ref == "${env:ABSENT}" {
			return "", errors.New("it is not set")
		}
		return map[string]string{"${env:USER}": "weir", "${env:PASS}": "right"}[ref], nil
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		for pass, which := range map[string]string{"${env:PASS}": "right", "${env:ABSENT}": "wrong"} { // kfake does not answer a wrong password; the e2e test sees to that
			t.Run(mechanism+which, func(t *testing.T) {
				cluster := k.cluster()
				cluster.SASL = &functions.SASL{Mechanism: mechanism, Username: "${env:USER}", Password: pass}
				in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
					Tasks: 1, Secrets: secrets, Ingress: functions.Ingress{ID: "in", Cluster: cluster, Topics: []functions.IngressTopic{{Topic: "guarded"}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				checkCredentials(t, which, in)
				e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: cluster, Secrets: secrets, Topics: []kafkaio.EgressTopic{{Name: "guarded"}}})
				if err != nil {
					t.Fatal(err)
				}
				checkLane(t, which, e)
			})
		}
	}
}
