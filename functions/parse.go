package functions

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxSourceBytes bounds module.yaml: the largest one met had 40 KiB.
	maxSourceBytes = 256 << 10
	// maxDocuments bounds the documents of module.yaml: one job, its modules, ingresses and egresses.
	maxDocuments = 512
	// maxTokens and maxNesting bound one document before it is parsed: the YAML parser takes time and memory that grow
	// with the square of the nesting, and 200 000 open brackets fill any memory.
	maxTokens  = 20_000
	maxNesting = 32
)

// The kinds of documents in module.yaml.
const (
	kindJob          = "weir.v1/job"
	kindModule       = "weir.v1/module"
	kindKafkaIngress = "io.statefun.kafka.v1/ingress"
	kindKafkaEgress  = "io.statefun.kafka.v1/egress"
)

var kinds = []string{kindJob, kindModule, kindKafkaIngress, kindKafkaEgress}

// refusedKinds are StateFun's kinds that Weir does not run, and what to do instead.
var refusedKinds = map[string]string{
	"io.statefun.endpoints.v1/http":     "compile the function to WASM and declare it with kind " + kindModule,
	"io.statefun.endpoints.v2/http":     "compile the function to WASM and declare it with kind " + kindModule,
	"io.statefun.kinesis.v1/ingress":    "bring the stream into Kafka and use kind " + kindKafkaIngress,
	"io.statefun.kinesis.v1/egress":     "use kind " + kindKafkaEgress,
	"io.statefun.playground.v1/ingress": "remove it; every function takes POST /in/{namespace}/{name}/{key}",
	"io.statefun.playground.v1/egress":  "use kind " + kindKafkaEgress + " with address embedded",
}

// parsing is one run of ParseJob.
type parsing struct {
	lookup   Lookup
	found    findings
	warnings []Problem
	offset   int // lines before the document being read
	lines    int // of that document
	job      *Job
}

// ParseJob reads module.yaml: documents with a kind and a spec, in StateFun's format and with Weir's own kinds. Every
// default is filled in, and everything that can be judged without the modules is checked; Bind does the rest. file names
// the source in errors. References in values are resolved with env, those in credentials are kept (ResolveSecret); with a
// nil env a reference is refused. The error is a *ParseError.
func ParseJob(source []byte, file string, env Lookup) (*Job, error) {
	p := &parsing{lookup: env, found: findings{source: newSource(file)}, job: &Job{}}
	p.job.source = p.found.source
	documents := p.documents(source)
	var jobDocuments int
	for _, d := range documents {
		p.offset, p.lines = d.offset, strings.Count(d.text, "\n")+1
		jobDocuments += p.document(d)
	}
	if jobDocuments == 0 {
		p.parseJobSpec(value{p: p}.object())
	}
	if len(p.found.problems) > 0 {
		return nil, p.found.err()
	}
	p.job.fillNames()
	p.job.Warnings = p.warnings
	p.job.check(&p.found)
	if err := p.found.err(); err != nil {
		return nil, err
	}
	return p.job, nil
}

func newSource(file string) *source {
	return &source{file: file, places: map[string]place{"": {line: 1, column: 1}}}
}

// document is the text of one document and the number of lines before it.
type document struct {
	text   string
	offset int
}

// documents splits the source at its lines "---". The YAML parser is given one document at a time: it ends silently at
// a document that holds only comments.
func (p *parsing) documents(source []byte) []document {
	text := strings.TrimPrefix(string(source), "\uFEFF")
	switch {
	case len(source) > maxSourceBytes:
		p.found.add("", "", "the file has %d bytes; at most %d are read", len(source), maxSourceBytes)
		return nil
	case !utf8.ValidString(text):
		p.found.add("", "save the file as UTF-8", "the file is not UTF-8 text")
		return nil
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	var documents []document
	start := 0
	for i, line := range lines {
		rest, separator := strings.CutPrefix(line, "---")
		if !separator || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
			p.found.addAt(place{i + 1, 1}, "", "write the document on the lines below it", "text follows --- on its line")
		}
		documents = append(documents, document{strings.Join(lines[start:i], "\n"), start})
		start = i + 1
	}
	documents = append(documents, document{strings.Join(lines[start:], "\n"), start})
	if len(documents) > maxDocuments {
		p.found.add("", "", "the file has %d documents; at most %d are read", len(documents), maxDocuments)
		return nil
	}
	return documents
}

// document reads one document into the job; it returns 1 when that was the job itself.
func (p *parsing) document(d document) int {
	body := p.parseYAML(d)
	if body == nil {
		return 0
	}
	root := p.value(body, "", place{d.offset + 1, 1}).called("the document").object()
	if len(root.order) == 0 {
		return 0
	}
	if _, legacy := root.fields["version"]; legacy {
		p.found.addAt(root.fields["version"].at, "", "write one document per part, each with kind and spec, as StateFun 3.1 and later do",
			"the format of StateFun 3.0 with a version and one root is not read")
		return 0
	}
	kindValue := root.field("kind")
	kind := kindValue.text("")
	if !kindValue.present() {
		kindValue.problem("say one of "+strings.Join(kinds, ", "), "kind is missing")
	}
	spec := root.field("spec")
	root.done()
	switch kind {
	case "":
	case kindJob:
		p.jobDocument(spec, root.at)
		return 1
	case kindModule:
		p.module(p.value(spec.node, fmt.Sprintf("modules[%d]", len(p.job.Modules)), spec.at).object())
	case kindKafkaIngress:
		p.kafkaIngress(p.value(spec.node, fmt.Sprintf("ingresses[%d]", len(p.job.Ingresses)), spec.at).object())
	case kindKafkaEgress:
		p.kafkaEgress(p.value(spec.node, fmt.Sprintf("egresses[%d]", len(p.job.Egresses)), spec.at).object())
	default:
		if fix, refused := refusedKinds[kind]; refused {
			kindValue.problem(fix, "kind %s is StateFun's, and Weir does not run it yet", kind)
			return 0
		}
		kindValue.problem(didYouMean(kind, kinds), "unknown kind %q", kind)
	}
	return 0
}

func (p *parsing) jobDocument(spec value, at place) {
	if first, twice := p.found.source.places["job"]; twice {
		p.found.addAt(at, "", "merge the two", "a second %s; the first is at line %d", kindJob, first.line)
		return
	}
	p.found.source.places["job"] = at
	p.parseJobSpec(p.value(spec.node, "", spec.at).object())
}

// parseYAML is the body of a document, or nil when it is empty or cannot be read.
func (p *parsing) parseYAML(d document) ast.Node {
	tokens := lexer.Tokenize(d.text)
	if !p.acceptTokens(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		p.syntaxError(err)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return doc.Body
		}
	}
	return nil
}

func (p *parsing) syntaxError(err error) {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		where := at.GetToken().Position
		p.found.addAt(p.place(where.Line, where.Column), "", "", "not valid YAML: %s", at.GetMessage())
		return
	}
	p.found.addAt(place{p.offset + 1, 1}, "", "", "not valid YAML: %v", err)
}

// acceptTokens refuses what the parser must not see: nesting without end, and YAML that configuration does not need.
func (p *parsing) acceptTokens(tokens token.Tokens) bool {
	flow, dashes := 0, 0
	for i, t := range tokens {
		where := place{p.offset + 1, 1}
		if t.Position != nil {
			where = p.place(t.Position.Line, t.Position.Column)
		}
		reason := ""
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			reason = "anchors and aliases (& * <<) are not read; write the value out"
		case token.TagType:
			reason = "tags (!) are not read; put the text in quotes"
		case token.MappingKeyType:
			reason = "keys that begin with ? are not read; write key: value"
		case token.DirectiveType, token.DocumentEndType, token.DocumentHeaderType:
			reason = fmt.Sprintf("%q is not read here; separate documents by a line ---", strings.TrimSpace(t.Value))
		}
		if t.Type == token.SequenceEntryType {
			dashes++
		} else {
			dashes = 0
		}
		switch {
		case flow > maxNesting || dashes > maxNesting:
			reason = fmt.Sprintf("nested deeper than %d levels", maxNesting)
		case i >= maxTokens:
			reason = fmt.Sprintf("the document has more than %d tokens", maxTokens)
		}
		if reason != "" {
			p.found.addAt(where, "", "", "%s", reason)
			return false
		}
	}
	return true
}

// place is a position of the YAML parser in the whole source. The parser counts past the end of some damaged documents.
func (p *parsing) place(line, column int) place {
	return place{line: min(max(line, 1), p.lines) + p.offset, column: max(column, 1)}
}

// value is a node with its place, which is that of its first token; key is the place of what names it. Of two nodes with
// one path, as a module and its limits, the first gives the path its place.
func (p *parsing) value(node ast.Node, path string, key place) value {
	at := key
	switch n := node.(type) {
	case nil, *ast.NullNode:
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			node := n.Values[0].Key.GetToken()
			at = p.place(node.Position.Line, node.Position.Column)
			break
		}
		at = p.place(n.GetToken().Position.Line, n.GetToken().Position.Column)
	case *ast.MappingValueNode:
		at = p.place(n.Key.GetToken().Position.Line, n.Key.GetToken().Position.Column)
	default:
		if t := n.GetToken(); t != nil && t.Position != nil {
			at = p.place(t.Position.Line, t.Position.Column)
		}
	}
	if _, known := p.found.source.places[path]; !known {
		p.found.source.places[path] = at
	}
	return value{p: p, node: node, at: at, path: path, name: path}
}

// fillNames fills the defaults that depend on the name of the job.
func (j *Job) fillNames() {
	if j.Name == "" && len(j.Modules) > 0 {
		base := filepath.Base(j.Modules[0].File)
		j.Name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	deadLetters := j.Name + "-dead-letters"
	for i := range j.Modules {
		fallback(&j.Modules[i].DeadLetter, deadLetters)
	}
	for i := range j.Ingresses {
		fallback(&j.Ingresses[i].Group, j.Name)
		fallback(&j.Ingresses[i].Invalid.DeadLetter, deadLetters)
	}
	for i := range j.Egresses {
		if j.Egresses[i].Delivery == "" {
			j.Egresses[i].Delivery = j.Delivery
		}
	}
}

func fallback(s *string, value string) {
	if *s == "" {
		*s = value
	}
}
