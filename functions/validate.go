package functions

import (
	"fmt"
	"math/bits"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxJobNameBytes leaves room in Kafka's 249 bytes of a topic name for "-dead-letters" and a lane's suffix.
	maxJobNameBytes = 200
	// maxTopicBytes is Kafka's own limit.
	maxTopicBytes = 249
	// maxParts bounds modules, ingresses, egresses, topics and targets: each costs every task some memory.
	maxParts = 256
	// minInterval is the shortest fixed interval of epochs: below it, they cost more than the records they commit.
	minInterval = 10 * time.Millisecond
	maxInterval = time.Hour
	maxRetain   = 1000

	minMemory = 1 << 20 // a guest's runtime alone needs more
	maxMemory = 4 << 30 // what 32-bit WASM addresses
	maxTime   = time.Minute

	maxAttempts = 100 // with a back-off of 10 s, a quarter of an hour before the dead letter
	maxBackoff  = time.Hour
	// maxRecordBytes leaves room for the header of a message (MaxMessageBytes) around key, value and headers.
	maxRecordBytes = MaxMessageBytes - 64<<10
	maxPartitions  = 10_000
	// maxTxnTimeout is Kafka's default of transaction.max.timeout.ms.
	maxTxnTimeout = 15 * time.Minute
	maxAddress    = 4096
)

// Validate checks everything that can be judged without a broker; with a Description in every module, also what the
// modules and the job say of each other. The error is a *ParseError. A job that came as JSON has paths and no places.
func (j *Job) Validate() error {
	f := findings{source: j.source}
	j.check(&f)
	return f.err()
}

// Bind gives every module its description, in the order of Modules, and validates the job with them.
func (j *Job) Bind(descriptions []*Description) error {
	if len(descriptions) != len(j.Modules) {
		return fmt.Errorf("bind job %s: %d descriptions for %d modules", j.Name, len(descriptions), len(j.Modules))
	}
	for i, d := range descriptions {
		j.Modules[i].Description = d
	}
	return j.Validate()
}

func (j *Job) check(f *findings) {
	j.checkSettings(f)
	j.checkRestart(f)
	if len(j.Modules) == 0 {
		f.add("modules", "add a document with kind "+kindModule+" and spec: {file: counter.wasm}", "the job has no module")
	}
	tooMany(f, "modules", len(j.Modules))
	tooMany(f, "ingresses", len(j.Ingresses))
	tooMany(f, "egresses", len(j.Egresses))
	for i := range j.Modules {
		j.checkModule(f, i)
	}
	seen := map[string]string{}
	for i := range j.Ingresses {
		path := fmt.Sprintf("ingresses[%d]", i)
		unique(f, seen, path+".id", "ingress", j.Ingresses[i].ID)
		checkIngress(f, path, &j.Ingresses[i])
	}
	clear(seen)
	for i := range j.Egresses {
		path := fmt.Sprintf("egresses[%d]", i)
		unique(f, seen, path+".id", "egress", j.Egresses[i].ID)
		checkEgress(f, path, &j.Egresses[i])
	}
	j.checkDescriptions(f)
}

func (j *Job) checkSettings(f *findings) {
	if err := checkName(j.Name); err != nil && (j.Name != "" || len(j.Modules) > 0) { // a module gives its name to a job without one
		f.add("name", "set spec.name of the "+kindJob+" document", "job name %q: %v", j.Name, err)
	}
	if len(j.Name) > maxJobNameBytes {
		f.add("name", "", "the job name has %d bytes; at most %d fit", len(j.Name), maxJobNameBytes)
	}
	if err := checkName(j.Namespace); err != nil {
		f.add("namespace", "", "namespace %q: %v", j.Namespace, err)
	}
	switch {
	case j.KeyGroups < 1 || j.KeyGroups > MaxKeyGroups || bits.OnesCount(uint(j.KeyGroups)) != 1:
		f.add("keyGroups", fmt.Sprintf("take a power of two from 1 to %d; %d suits most jobs", MaxKeyGroups, DefaultKeyGroups),
			"keyGroups %d is not a power of two in range", j.KeyGroups)
	case j.Parallelism < 1:
		f.add("parallelism", "", "parallelism %d is below 1", j.Parallelism)
	case j.Parallelism > j.KeyGroups:
		f.add("parallelism", "lower it, or raise keyGroups of a job that is not deployed yet",
			"parallelism %d is above the %d key groups that tasks share", j.Parallelism, j.KeyGroups)
	}
	if c := j.Checkpoints; c.Interval != 0 && (c.Interval < minInterval || c.Interval > maxInterval) {
		f.add("checkpoints.interval", "use auto, or a fixed interval in that range", "checkpoints.interval %v is not between %v and %v",
			c.Interval, minInterval, maxInterval)
	}
	within(f, "checkpoints.retain", int64(j.Checkpoints.Retain), 1, maxRetain)
	oneOf(f, "delivery", string(j.Delivery), string(ExactlyOnce), string(AtLeastOnce))
}

func (j *Job) checkRestart(f *findings) {
	r := &j.Restart
	oneOf(f, "restart.strategy", r.Strategy, restartStrategies...)
	for _, d := range []struct {
		path  string
		value time.Duration
	}{
		{"restart.delay", r.Delay}, {"restart.maxDelay", r.MaxDelay}, {"restart.resetAfter", r.ResetAfter}, {"restart.interval", r.Interval},
	} {
		if d.value < 0 || d.value > 24*time.Hour {
			f.add(d.path, "", "%s %v is not between 0 and 24h", d.path, d.value)
		}
	}
	if !(r.Multiplier >= 1 && r.Multiplier <= 100) {
		f.add("restart.multiplier", "", "restart.multiplier %v is not between 1 and 100", r.Multiplier)
	}
	if !(r.Jitter >= 0 && r.Jitter <= 1) {
		f.add("restart.jitter", "", "restart.jitter %v is not between 0 and 1", r.Jitter)
	}
	within(f, "restart.attempts", int64(r.Attempts), 0, 1<<31-1)
	within(f, "restart.failures", int64(r.Failures), 1, 1<<31-1)
}

func (j *Job) checkModule(f *findings, i int) {
	m, path := &j.Modules[i], fmt.Sprintf("modules[%d]", i)
	if m.File == "" {
		f.add(path+".file", "name the .wasm file", "the module has no file")
	}
	for k := range i {
		if j.Modules[k].File == m.File {
			f.add(path+".file", "remove one of the two documents", "module %s is declared twice", m.File)
		}
	}
	if m.Memory < minMemory || m.Memory > maxMemory {
		f.add(path+".memory", "", "limits.memory %d is not between 1MiB and 4GiB", m.Memory)
	}
	if m.Time < time.Microsecond || m.Time > maxTime {
		f.add(path+".time", "", "limits.time %v is not between 1us and %v", m.Time, maxTime)
	}
	checkTopic(f, path+".deadLetter", m.DeadLetter)
	checkRetry(f, path+".retry", m.Retry)
	for name, retry := range m.Overrides {
		at := fmt.Sprintf("%s.overrides[%s]", path, name)
		if _, err := ParseTypeName(name); err != nil {
			f.add(at, "write namespace/name", "override of %v", err)
		}
		checkRetry(f, at, retry)
	}
}

func checkRetry(f *findings, path string, r Retry) {
	within(f, path+".attempts", int64(r.Attempts), 1, maxAttempts)
	if r.Backoff < 0 || r.Backoff > maxBackoff {
		f.add(path+".backoff", "", "backoff %v is not between 0 and %v", r.Backoff, maxBackoff)
	}
	if r.MaxBackoff < 0 || r.MaxBackoff > maxBackoff {
		f.add(path+".maxBackoff", "", "maxBackoff %v is not between 0 and %v", r.MaxBackoff, maxBackoff)
	}
}

func checkIngress(f *findings, path string, in *Ingress) {
	checkID(f, path+".id", "ingress", in.ID)
	checkCluster(f, path+".cluster", &in.Cluster)
	if in.Group == "" || len(in.Group) > maxNameBytes {
		f.add(path+".group", "", "consumerGroupId has %d bytes; it needs 1 to %d", len(in.Group), maxNameBytes)
	}
	if len(in.Topics) == 0 {
		f.add(path+".topics", "list at least one topic", "ingress %s has no topic", in.ID)
	}
	tooMany(f, path+".topics", len(in.Topics))
	for i := range in.Topics {
		checkIngressTopic(f, path, in, i)
	}
	oneOf(f, path+".start.type", in.Start.Type, startTypes...)
	if in.Start.Reset != "" {
		oneOf(f, path+".start.reset", in.Start.Reset, earliest, latest)
	}
	if b := in.Bounded; b != nil {
		oneOf(f, path+".bounded.type", b.Type, boundTypes...)
	}
	policies := []string{string(InvalidDeadLetter), string(InvalidSkip), string(InvalidFail)}
	oneOf(f, path+".invalid.noKey", string(in.Invalid.NoKey), policies...)
	oneOf(f, path+".invalid.oversize", string(in.Invalid.Oversize), policies...)
	oneOf(f, path+".invalid.tombstone", string(in.Invalid.Tombstone), append(policies, string(InvalidDeliver))...)
	checkTopic(f, path+".invalid.deadLetter", in.Invalid.DeadLetter)
	within(f, path+".invalid.maxBytes", int64(in.Invalid.MaxBytes), 1, maxRecordBytes)
}

func checkIngressTopic(f *findings, path string, in *Ingress, i int) {
	t, at := &in.Topics[i], fmt.Sprintf("%s.topics[%d]", path, i)
	switch {
	case t.Topic != "" && t.Pattern != "":
		f.add(at+".pattern", "keep one of the two", "topic and pattern are both set")
	case t.Topic == "" && t.Pattern == "":
		f.add(at+".topic", "set topic, or pattern", "an entry of topics names no topic")
	case t.Topic != "":
		checkTopic(f, at+".topic", t.Topic)
	default:
		if _, err := regexp.Compile(t.Pattern); err != nil {
			f.add(at+".pattern", "write an RE2 expression that matches whole topic names", "pattern %q: %v", t.Pattern, err)
		}
		if t.Create != 0 {
			f.add(at+".create", "name the topic to create it", "create does not go with a pattern")
		}
	}
	for k := range i {
		if t.Topic != "" && in.Topics[k].Topic == t.Topic {
			f.add(at+".topic", "list the targets of both in one entry", "topic %s is listed twice", t.Topic)
		}
	}
	within(f, at+".create", int64(t.Create), 0, maxPartitions)
	if len(t.KeyHeader) > maxNameBytes {
		f.add(at+".keyHeader", "", "keyHeader has %d bytes; at most %d fit", len(t.KeyHeader), maxNameBytes)
	}
	if t.ValueType != "" {
		if _, err := ParseTypeName(t.ValueType); err != nil {
			f.add(at+".valueType", "write namespace/name, such as io.statefun.types/string", "valueType: %v", err)
		}
	}
	if len(t.Targets) == 0 {
		f.add(at+".targets", "list the functions that get the records", "topic %s%s has no target", t.Topic, t.Pattern)
	}
	tooMany(f, at+".targets", len(t.Targets))
	for k, target := range t.Targets {
		where := fmt.Sprintf("%s.targets[%d]", at, k)
		checkType(f, where, target)
		if slices.Contains(t.Targets[:k], target) {
			f.add(where, "remove one of the two", "target %s is listed twice", target)
		}
	}
}

// checkType checks a type name that came from JSON or from a module, where ParseTypeName has not seen it.
func checkType(f *findings, path string, t TypeName) bool {
	_, err := ParseTypeName(t.String())
	if err != nil {
		f.add(path, "write namespace/name", "malformed function type: %v", err)
	}
	return err == nil
}

func checkEgress(f *findings, path string, out *Egress) {
	checkID(f, path+".id", "egress", out.ID)
	checkCluster(f, path+".cluster", &out.Cluster)
	oneOf(f, path+".delivery", string(out.Delivery), string(ExactlyOnce), string(AtLeastOnce))
	checkTopic(f, path+".topic", out.Topic)
	tooMany(f, path+".topics", len(out.Topics))
	for i, topic := range out.Topics {
		checkTopic(f, fmt.Sprintf("%s.topics[%d]", path, i), topic)
	}
	if !slices.Contains(out.Topics, out.Topic) {
		f.add(path+".topics", "add it to topics", "topics does not hold the default topic %q", out.Topic)
	}
	within(f, path+".create", int64(out.Create), 0, maxPartitions)
	oneOf(f, path+".compression", out.Compression, compressions...)
	if out.TxnTimeout < time.Second || out.TxnTimeout > maxTxnTimeout {
		f.add(path+".transactionTimeout", "Kafka's own limit is transaction.max.timeout.ms of the broker",
			"transactionTimeout %v is not between 1s and %v", out.TxnTimeout, maxTxnTimeout)
	}
}

// EmbeddedCluster is the address of the broker inside weir dev.
const EmbeddedCluster = "embedded"

func checkCluster(f *findings, path string, c *Cluster) {
	if len(c.Address) > maxAddress {
		f.add(path+".address", "", "address has %d bytes; at most %d fit", len(c.Address), maxAddress)
		return
	}
	if c.Address != EmbeddedCluster {
		for seed := range strings.SplitSeq(c.Address, ",") {
			host, port, err := net.SplitHostPort(strings.TrimSpace(seed))
			n, portErr := strconv.ParseUint(port, 10, 16)
			if err != nil || portErr != nil || host == "" || n == 0 {
				f.add(path+".address", "write host:port, comma separated, or embedded", "address %q is not host:port", seed)
			}
		}
	}
	if c.TLS != nil && (c.TLS.Cert == "") != (c.TLS.Key == "") {
		f.add(path+".tls", "set both, or neither", "tls has one of cert and key")
	}
	if c.SASL != nil {
		oneOf(f, path+".sasl.mechanism", c.SASL.Mechanism, saslMechanisms...)
		if c.SASL.Username == "" || c.SASL.Password == "" {
			f.add(path+".sasl", "set both as ${env:NAME} or ${file:PATH}", "sasl needs a user name and a password")
		}
	}
}

// checkID accepts a name, or namespace/name as StateFun writes it.
func checkID(f *findings, path, kind, id string) {
	err := checkName(id)
	if strings.Contains(id, "/") {
		_, err = ParseTypeName(id)
	}
	if err != nil {
		f.add(path, "write name or namespace/name", "%s id %q: %v", kind, id, err)
	}
}

func checkTopic(f *findings, path, topic string) {
	err := checkName(topic)
	switch {
	case topic == "." || topic == "..":
		err = fmt.Errorf("it is a path, not a name")
	case len(topic) > maxTopicBytes:
		err = fmt.Errorf("it has %d bytes; Kafka takes %d", len(topic), maxTopicBytes)
	}
	if err != nil {
		f.add(path, "", "topic %q: %v", topic, err)
	}
}

func unique(f *findings, seen map[string]string, path, kind, id string) {
	if first, twice := seen[id]; twice {
		where := first
		if at := f.source.at(first); at.line > 0 {
			where = fmt.Sprintf("line %d", at.line)
		}
		f.add(path, "give each its own id", "%s id %q is used twice; the first is at %s", kind, id, where)
		return
	}
	seen[id] = path
}

func tooMany(f *findings, path string, n int) {
	if n > maxParts {
		f.add(path, "", "%s has %d entries; at most %d are taken", path, n, maxParts)
	}
}

func within(f *findings, path string, n, low, high int64) {
	if n < low || n > high {
		f.add(path, "", "%s %d is not between %d and %d", path[strings.LastIndexByte(path, '.')+1:], n, low, high)
	}
}

func oneOf(f *findings, path, word string, allowed ...string) {
	if !slices.Contains(allowed, word) {
		f.add(path, didYouMean(word, allowed), "%s %q is not known", path[strings.LastIndexByte(path, '.')+1:], word)
	}
}
