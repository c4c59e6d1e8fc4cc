package functions

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

const (
	earliest        = "earliest"
	latest          = "latest"
	atTimestamp     = "timestamp"
	groupOffsets    = "group-offsets"
	specificOffsets = "specific-offsets"

	defaultMaxRecordBytes = 1 << 20     // Kafka's default of message.max.bytes
	defaultTxnTimeout     = time.Minute // Kafka's default of transaction.timeout.ms; ours last milliseconds
	defaultCompression    = "lz4"

	// createdPartitions is what "create: true" gives a topic: enough for a small job to grow, cheap on a laptop.
	createdPartitions = 4
)

var (
	boundTypes   = []string{latest, atTimestamp, "date"}
	startTypes   = []string{earliest, latest, atTimestamp, "date", groupOffsets, specificOffsets}
	compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}
)

// kafkaIngress reads the spec of io.statefun.kafka.v1/ingress.
func (p *parsing) kafkaIngress(o *object) {
	in := Ingress{ID: o.required("id", "name the ingress, such as ads/clicks")}
	cluster, properties := p.cluster(o)
	in.Cluster = cluster
	in.Group = o.field("consumerGroupId").text(properties.group)
	topics := o.field("topics")
	for _, element := range topics.list() {
		in.Topics = append(in.Topics, p.ingressTopic(element.object()))
	}
	if !topics.present() {
		topics.problem("list at least one, such as - {topic: clicks, targets: [ads/impression]}", "topics is missing")
	}
	in.Start = p.start(o.field("startupPosition").object())
	fallback(&properties.reset, earliest)
	in.Start.Reset = o.field("autoOffsetResetPosition").text(properties.reset)
	if bounded := o.field("bounded"); bounded.present() {
		in.Bounded = bound(bounded.object())
	}
	invalid := o.field("invalid").object()
	in.Invalid = Invalid{
		NoKey:      InvalidPolicy(invalid.field("noKey").text(string(InvalidDeadLetter))),
		Tombstone:  InvalidPolicy(invalid.field("tombstone").text(string(InvalidDeadLetter))),
		Oversize:   InvalidPolicy(invalid.field("oversize").text(string(InvalidDeadLetter))),
		DeadLetter: invalid.field("deadLetter").text(""),
		MaxBytes:   int(invalid.field("maxBytes").size(defaultMaxRecordBytes)),
	}
	invalid.done()
	o.done()
	p.job.Ingresses = append(p.job.Ingresses, in)
}

func (p *parsing) ingressTopic(o *object) IngressTopic {
	t := IngressTopic{
		Topic:     o.field("topic").text(""),
		Pattern:   o.field("pattern").text(""),
		ValueType: o.field("valueType").text(""),
		KeyHeader: o.field("keyHeader").text(""),
		Create:    partitions(o.field("create")),
	}
	targets := o.field("targets")
	for _, element := range targets.list() {
		text, ok := element.scalar()
		if !ok {
			continue
		}
		target, err := ParseTypeName(text)
		if err != nil {
			element.problem("write namespace/name, as the module names its function", "target: %v", err)
			continue
		}
		t.Targets = append(t.Targets, target)
	}
	if !targets.present() {
		targets.problem("list the functions that get the records, such as [ads/impression]", "targets is missing")
	}
	o.done()
	return t
}

// partitions reads create: a number of partitions, true for the default, or false.
func partitions(v value) int {
	if yes, ok := v.node.(*ast.BoolNode); ok {
		if yes.Value {
			return createdPartitions
		}
		return 0
	}
	return v.integer(0)
}

func (p *parsing) start(o *object) Start {
	kind := o.field("type")
	s := Start{Type: kind.text(earliest)}
	at, offsets := moment(o, "startupPosition", kind), o.field("offsets")
	switch s.Type {
	case "date", atTimestamp:
		s.Type, s.Time = atTimestamp, at
	case specificOffsets:
		s.Offsets = p.offsets(offsets)
		if !offsets.present() {
			kind.problem("add offsets: [{clicks/0: 42}] beside it", "startupPosition specific-offsets has no offsets")
		}
	}
	o.done()
	return s
}

// bound reads where an ingress ends, written as a start is.
func bound(o *object) *Bound {
	kind := o.field("type")
	if !kind.present() {
		kind.problem("say one of "+strings.Join(boundTypes, ", "), "type is missing")
	}
	b := &Bound{Type: kind.text("")}
	at := moment(o, "bounded", kind)
	if b.Type == "date" || b.Type == atTimestamp {
		b.Type, b.Time = atTimestamp, at
	}
	o.done()
	return b
}

// moment reads the time that stands beside a type of date or timestamp.
func moment(o *object, of string, kind value) time.Time {
	date, stamp := o.field("date"), o.field("time")
	if name := kind.text(""); name != "date" && name != atTimestamp {
		return time.Time{}
	}
	if !date.present() {
		date = stamp
	}
	if !date.present() {
		kind.problem("add time: 2026-11-21T07:14:00Z beside it", "%s %s has no time", of, kind.text(""))
	}
	return convert(date, time.Time{}, parseTime)
}

// offsets reads "topic/partition: offset" pairs, as a mapping or as StateFun's list of one-pair mappings.
func (p *parsing) offsets(v value) map[string]int64 {
	offsets := make(map[string]int64)
	for _, pair := range p.pairs(v) {
		name, n := pair.name, pair.value.integer(0)
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 || n < 0 {
			pair.value.problem("write topic/partition: offset, such as clicks/0: 42", "offset %q: %d is not one", name, n)
			continue
		}
		if _, err := strconv.ParseUint(name[slash+1:], 10, 31); err != nil {
			pair.value.problem("write topic/partition: offset, such as clicks/0: 42", "offset %q has no partition number", name)
			continue
		}
		offsets[name] = int64(n)
	}
	return offsets
}

type pair struct {
	name  string
	value value
}

// pairs reads a mapping, or a list of mappings, whose keys are the user's own.
func (p *parsing) pairs(v value) []pair {
	objects := []*object{}
	if _, isList := v.node.(*ast.SequenceNode); isList {
		for _, element := range v.list() {
			objects = append(objects, element.object())
		}
	} else {
		objects = append(objects, v.object())
	}
	var pairs []pair
	for _, o := range objects {
		for _, name := range o.order {
			pairs = append(pairs, pair{name, o.entry(name)})
		}
	}
	return pairs
}

// kafkaEgress reads the spec of io.statefun.kafka.v1/egress.
func (p *parsing) kafkaEgress(o *object) {
	out := Egress{ID: o.required("id", "name the egress as functions do, such as counts or ads/charges")}
	cluster, properties := p.cluster(o)
	out.Cluster = cluster
	timeout := defaultTxnTimeout
	if properties.txnTimeout > 0 {
		timeout = properties.txnTimeout
	}
	fallback(&properties.compression, defaultCompression)
	semantic := o.field("deliverySemantic").object()
	kind := semantic.field("type")
	out.Delivery = Delivery(kind.text(""))
	if out.Delivery == "none" {
		out.Delivery = AtLeastOnce
		p.warn(kind, "deliverySemantic none is treated as at-least-once")
	}
	millis := semantic.field("transactionTimeoutMillis").integer(int(timeout / time.Millisecond))
	out.TxnTimeout = semantic.field("transactionTimeout").duration(time.Duration(millis) * time.Millisecond)
	semantic.done()
	out.Topic = o.field("topic").text("")
	out.Topics = o.field("topics").texts()
	out.Create = partitions(o.field("create"))
	out.Compression = o.field("compression").text(properties.compression)
	o.done()
	out.fillTopics()
	p.job.Egresses = append(p.job.Egresses, out)
}

// fillTopics makes the first listed topic the default one, or the name of the egress, and lists the default one.
func (e *Egress) fillTopics() {
	if e.Topic == "" && len(e.Topics) > 0 {
		e.Topic = e.Topics[0]
	}
	if e.Topic == "" {
		e.Topic = e.ID[strings.LastIndexByte(e.ID, '/')+1:]
	}
	for _, topic := range e.Topics {
		if topic == e.Topic {
			return
		}
	}
	e.Topics = append([]string{e.Topic}, e.Topics...)
}

// cluster reads how to reach Kafka: our own fields, then Kafka's client properties for what they do not say.
func (p *parsing) cluster(o *object) (Cluster, clientProperties) {
	properties := p.clientProperties(o.field("properties"))
	address := o.field("address")
	c := Cluster{Address: address.text(properties.servers), TLS: p.tls(o.field("tls")), SASL: p.sasl(o.field("sasl"))}
	if c.Address == "" {
		address.problem("name the brokers as host:port, comma separated, or the one of weir dev as embedded", "address is missing")
	}
	if c.TLS == nil {
		c.TLS = properties.tls
	}
	if c.SASL == nil {
		c.SASL = properties.sasl
	}
	return c, properties
}

func (p *parsing) tls(v value) *TLS {
	if yes, ok := v.node.(*ast.BoolNode); ok {
		if yes.Value {
			return &TLS{}
		}
		return nil
	}
	if !v.present() {
		return nil
	}
	o := v.object()
	t := &TLS{
		CA:         o.field("ca").text(""),
		Cert:       o.field("cert").text(""),
		Key:        o.field("key").text(""),
		ServerName: o.field("serverName").text(""),
	}
	o.done()
	return t
}

func (p *parsing) sasl(v value) *SASL {
	if !v.present() {
		return nil
	}
	o := v.object()
	s := &SASL{Mechanism: o.required("mechanism", "say one of "+strings.Join(saslMechanisms, ", "))}
	s.Username = p.credential(o.field("username"))
	password := o.field("password")
	s.Password = p.credential(password)
	if literal(s.Password) {
		p.warnLiteral(password)
	}
	o.done()
	return s
}

func (p *parsing) credential(v value) string {
	text := v.secret()
	if text == "" {
		v.problem("write ${env:NAME} or ${file:PATH}, so that it stands nowhere in clear", "%s is missing", v.name)
	}
	return text
}

func (p *parsing) warnLiteral(v value) {
	p.warn(v, "the password stands here in clear; write ${env:NAME} or ${file:PATH} instead")
}

func (p *parsing) warn(v value, format string, args ...any) {
	if len(p.warnings) == maxProblems {
		return
	}
	p.warnings = append(p.warnings, Problem{
		File: p.found.source.file, Line: v.at.line, Column: v.at.column, Path: v.path, What: fmt.Sprintf(format, args...),
	})
}
