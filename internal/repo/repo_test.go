package repo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/internal/repo"
)

func TestRepositoryKeepsEveryRule(t *testing.T) {
	tree, err := repo.Load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range repo.Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			for _, b := range rule.Check(tree) {
				t.Errorf("%s (rule: %s)", b, rule.Says)
			}
		})
	}
}

// Each rule has a tree in testdata that breaks it; want.txt beside it holds what the rule must say, and no more.
func TestEveryRuleComplainsAboutItsBadTree(t *testing.T) {
	for _, rule := range repo.Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			dir := filepath.Join("testdata", rule.Name)
			tree, err := repo.Load(filepath.Join(dir, "tree"))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(dir, "want.txt"))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, b := range rule.Check(tree) {
				got.WriteString(b.String() + "\n")
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}
