package functions

import "time"

// Delivery is the guarantee of an egress.
type Delivery string

const (
	ExactlyOnce Delivery = "exactly-once"
	AtLeastOnce Delivery = "at-least-once"
)

// Job is what a user deploys: module.yaml parsed and checked, or made from the description of a lone module.
// ParseJob fills every default, so that a zero field means zero.
type Job struct {
	Name        string      `json:"name"`
	Namespace   string      `json:"namespace"` // the tenant; "default"
	Parallelism int         `json:"parallelism"`
	KeyGroups   int         `json:"keyGroups"` // fixed when the job is created
	Checkpoints Checkpoints `json:"checkpoints"`
	Delivery    Delivery    `json:"delivery"` // of egresses that do not say; exactly-once
	Restart     Restart     `json:"restart"`
	Modules     []Module    `json:"modules"`
	Ingresses   []Ingress   `json:"ingresses"`
	Egresses    []Egress    `json:"egresses"`

	Warnings []Problem `json:"-"` // what ParseJob took, but its author should know
	source   *source   // of a parsed job: the places of its parts
}

// Checkpoints says when epochs are cut and how many are kept.
type Checkpoints struct {
	Interval time.Duration `json:"interval"` // 0 is auto
	Retain   int           `json:"retain"`   // manifests kept; 3
}

// Restart is the restart strategy (Flink's names): "exponential-delay" (default), "fixed-delay", "failure-rate", "none".
type Restart struct {
	Strategy   string        `json:"strategy"`
	Delay      time.Duration `json:"delay"`      // first delay (exponential), or the delay; 100ms
	MaxDelay   time.Duration `json:"maxDelay"`   // exponential; 1m
	Multiplier float64       `json:"multiplier"` // exponential; 1.5
	Jitter     float64       `json:"jitter"`     // exponential; 0.1
	ResetAfter time.Duration `json:"resetAfter"` // exponential: stable time that forgets failures; 1h
	Attempts   int           `json:"attempts"`   // fixed-delay and exponential: failures in a row before the job fails; 0 is no limit
	Failures   int           `json:"failures"`   // failure-rate: failures within Interval before the job fails; 1
	Interval   time.Duration `json:"interval"`   // failure-rate; 1m
}

// Module is one WASM module of a job. Functions come from its own description.
type Module struct {
	File        string           `json:"file"`             // as written in module.yaml, relative to it
	Build       string           `json:"build,omitempty"`  // command that makes File; empty: go build when main.go stands beside it
	Digest      string           `json:"digest,omitempty"` // sha256:hex of the module as uploaded
	Memory      int64            `json:"memory"`           // bytes per instance; 64 MiB
	Time        time.Duration    `json:"time"`             // per invocation, counted as fuel; 50ms
	Retry       Retry            `json:"retry"`
	DeadLetter  string           `json:"deadLetter"` // topic; "<job>-dead-letters"
	Description *Description     `json:"description,omitempty"`
	Overrides   map[string]Retry `json:"overrides,omitempty"` // retry policy per function type
}

// Retry is what happens to an invocation that failed, before its message goes to the dead-letter topic.
type Retry struct {
	Attempts   int           `json:"attempts"`   // invocations in all; 3
	Backoff    time.Duration `json:"backoff"`    // before the second; 100ms, doubled each time
	MaxBackoff time.Duration `json:"maxBackoff"` // 10s
}

// Ingress is one Kafka ingress (kind io.statefun.kafka.v1/ingress, StateFun's fields and ours).
type Ingress struct {
	ID      string         `json:"id"`
	Cluster Cluster        `json:"cluster"`
	Group   string         `json:"group"` // consumer group to which offsets are committed, for lag tools; never read back
	Topics  []IngressTopic `json:"topics"`
	Start   Start          `json:"start"`
	Bounded *Bound         `json:"bounded,omitempty"` // nil: it has no end
	Invalid Invalid        `json:"invalid"`
}

// IngressTopic routes the records of a topic, or of all topics that match Pattern, to its targets.
type IngressTopic struct {
	Topic     string     `json:"topic,omitempty"`
	Pattern   string     `json:"pattern,omitempty"` // RE2, anchored at both ends; instead of Topic
	ValueType string     `json:"valueType"`
	Targets   []TypeName `json:"targets"`
	KeyHeader string     `json:"keyHeader,omitempty"` // the key comes from this header, not from the record key
	Create    int        `json:"create,omitempty"`    // partitions: create the topic when it does not exist; 0 does not
}

// Start is where an ingress begins when no checkpoint says so.
type Start struct {
	Type    string           `json:"type"`              // earliest (default), latest, timestamp, group-offsets, specific-offsets
	Time    time.Time        `json:"time,omitzero"`     // timestamp
	Offsets map[string]int64 `json:"offsets,omitempty"` // specific-offsets: "topic/partition"
	Reset   string           `json:"reset,omitempty"`   // group-offsets without a committed offset: earliest (default) or latest
}

// Bound is where an ingress ends. It is found once, when the ingress begins, and is part of every checkpoint from then on.
type Bound struct {
	Type string    `json:"type"`          // latest: at the end that a partition has when it is first looked at; timestamp
	Time time.Time `json:"time,omitzero"` // timestamp: at the first record of this time or later
}

// InvalidPolicy says what happens to a record that cannot become a message.
type InvalidPolicy string

const (
	InvalidDeadLetter InvalidPolicy = "dead-letter" // the default: nothing is lost
	InvalidSkip       InvalidPolicy = "skip"        // counted and dropped
	InvalidFail       InvalidPolicy = "fail"        // the job fails
)

// Invalid holds the policy per kind of bad record, and where dead letters go.
type Invalid struct {
	NoKey      InvalidPolicy `json:"noKey"`
	Tombstone  InvalidPolicy `json:"tombstone"` // a record without value; "deliver" hands it on as empty
	Oversize   InvalidPolicy `json:"oversize"`
	DeadLetter string        `json:"deadLetter"` // topic; "<job>-dead-letters"
	MaxBytes   int           `json:"maxBytes"`   // key, value and headers of one record; 1 MiB
}

// InvalidDeliver hands a tombstone on to the function as an empty value.
const InvalidDeliver InvalidPolicy = "deliver"

// Egress is one Kafka egress (kind io.statefun.kafka.v1/egress, StateFun's fields and ours).
type Egress struct {
	ID          string        `json:"id"` // as functions name it: "counts" or "ads/charges"
	Cluster     Cluster       `json:"cluster"`
	Delivery    Delivery      `json:"delivery"`
	Topic       string        `json:"topic"`  // default topic
	Topics      []string      `json:"topics"` // every topic that functions may choose; holds Topic
	Create      int           `json:"create,omitempty"`
	Compression string        `json:"compression"` // none, gzip, snappy, lz4, zstd; lz4
	TxnTimeout  time.Duration `json:"transactionTimeout"`
}

// Cluster is one Kafka cluster and how to reach it. Two with equal fields share connections and lanes.
type Cluster struct {
	Address string `json:"address"` // host:port, comma separated; "embedded" is the broker of weir dev
	TLS     *TLS   `json:"tls,omitempty"`
	SASL    *SASL  `json:"sasl,omitempty"`
}

// TLS holds file names, never contents.
type TLS struct {
	CA         string `json:"ca,omitempty"`
	Cert       string `json:"cert,omitempty"`
	Key        string `json:"key,omitempty"`
	ServerName string `json:"serverName,omitempty"`
}

// SASL holds credentials as references: Username and Password may be ${env:NAME} or ${file:PATH}, and are resolved only
// when a connection is made, so that they are never stored and never printed.
type SASL struct {
	Mechanism string `json:"mechanism"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
	Username  string `json:"username"`
	Password  string `json:"password"`
}

// Description is what a module says of itself (the JSON document that weir_describe returns).
type Description struct {
	ABI       int            `json:"abi"`
	SDK       string         `json:"sdk,omitempty"`
	Functions []FunctionSpec `json:"functions"`
	Ingresses []string       `json:"ingresses,omitempty"` // topics, each with targets in FunctionSpec.Ingress
	Egresses  []string       `json:"egresses,omitempty"`
}

// FunctionSpec is one function type of a module. Its place in Description.Functions is its index in the ABI.
type FunctionSpec struct {
	Type    TypeName    `json:"type"`
	States  []StateSpec `json:"states,omitempty"`  // the order is the order of prefetched states in the ABI
	Ingress []string    `json:"ingress,omitempty"` // topics it wants, when no module.yaml says
}

// StateSpec is one named state of a function type.
type StateSpec struct {
	Name string `json:"name"`
	Type string `json:"type"` // int64, string, bytes, json, or a codec's own name
}
