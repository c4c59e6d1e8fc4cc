package functions

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

var saslMechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// clientProperties is what Kafka's own client properties say, as far as Weir has a word for it.
type clientProperties struct {
	servers     string
	group       string
	reset       string
	compression string
	txnTimeout  time.Duration
	tls         *TLS
	sasl        *SASL
}

// withoutEffect are client properties that tune Kafka's Java client. They are taken with a warning, so that a module.yaml
// written for StateFun stays as it is; a property that would change what a job does, and is not listed, is refused.
var withoutEffect = setOf(
	"acks", "allow.auto.create.topics", "auto.commit.interval.ms", "batch.size", "buffer.memory", "check.crcs",
	"client.dns.lookup", "client.id", "client.rack", "connections.max.idle.ms", "default.api.timeout.ms",
	"delivery.timeout.ms", "enable.auto.commit", "enable.idempotence", "fetch.max.bytes", "fetch.max.wait.ms",
	"fetch.min.bytes", "flink.partition-discovery.interval-millis", "heartbeat.interval.ms", "key.deserializer",
	"key.serializer", "linger.ms", "max.block.ms", "max.in.flight.requests.per.connection",
	"max.partition.fetch.bytes", "max.poll.interval.ms", "max.poll.records", "max.request.size", "metadata.max.age.ms",
	"partition.assignment.strategy", "receive.buffer.bytes", "reconnect.backoff.max.ms", "reconnect.backoff.ms",
	"request.timeout.ms", "retries", "retry.backoff.max.ms", "retry.backoff.ms", "send.buffer.bytes",
	"session.timeout.ms", "socket.connection.setup.timeout.max.ms", "socket.connection.setup.timeout.ms",
	"ssl.enabled.protocols", "ssl.protocol", "value.deserializer", "value.serializer",
)

// understood are the client properties that become part of the Job.
var understood = []string{
	"auto.offset.reset", "bootstrap.servers", "compression.type", "group.id", "isolation.level", "sasl.jaas.config",
	"sasl.mechanism", "security.protocol", "ssl.endpoint.identification.algorithm", "ssl.keystore.location",
	"ssl.keystore.type", "ssl.truststore.location", "ssl.truststore.type", "transaction.timeout.ms",
}

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// clientProperties reads properties: a list of one-pair mappings as StateFun writes it, or one mapping.
func (p *parsing) clientProperties(v value) clientProperties {
	var c clientProperties
	var tls TLS
	var sasl SASL
	var wantTLS, wantSASL bool
	for _, property := range p.pairs(v) {
		v := property.value
		if !v.present() {
			continue
		}
		switch property.name {
		case "bootstrap.servers":
			c.servers = v.text("")
		case "group.id":
			c.group = v.text("")
		case "auto.offset.reset":
			c.reset = v.text("")
		case "compression.type":
			c.compression = v.text("")
		case "transaction.timeout.ms":
			c.txnTimeout = convert(v, 0, parseMillis)
		case "isolation.level":
			expect(v, "Weir reads committed records only", "read_committed")
		case "security.protocol":
			protocol := expect(v, "", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
			wantTLS = strings.HasSuffix(protocol, "SSL")
			wantSASL = strings.HasPrefix(protocol, "SASL")
		case "sasl.mechanism":
			sasl.Mechanism = expect(v, "", saslMechanisms...)
		case "sasl.jaas.config":
			p.jaas(v, &sasl)
		case "ssl.truststore.location":
			tls.CA = v.text("")
		case "ssl.keystore.location":
			tls.Cert = v.text("")
			tls.Key = tls.Cert
		case "ssl.truststore.type", "ssl.keystore.type":
			expect(v, "convert the store to PEM, and name its file with the location property", "PEM")
		case "ssl.endpoint.identification.algorithm":
			expect(v, "Weir always checks the broker's name; set tls.serverName when it differs", "https")
		default:
			p.otherProperty(property)
		}
	}
	if wantTLS {
		c.tls = &tls
	}
	if wantSASL {
		c.sasl = &sasl
	}
	return c
}

func (p *parsing) otherProperty(property pair) {
	if withoutEffect[property.name] {
		p.warn(property.value, "property %s has no effect here", property.name)
		return
	}
	property.value.problem(didYouMean(property.name, understood), "property %s is not understood", property.name)
}

// expect reads text that must be one of allowed, without regard to case, and returns the allowed spelling.
func expect(v value, fix string, allowed ...string) string {
	text, ok := v.scalar()
	if !ok {
		return ""
	}
	for _, word := range allowed {
		if strings.EqualFold(text, word) {
			return word
		}
	}
	if fix == "" {
		fix = "say " + strings.Join(allowed, ", ")
	}
	v.problem(fix, "%q is not supported", text)
	return ""
}

func parseMillis(text string) (time.Duration, error) {
	n, err := strconv.ParseUint(text, 10, 31) // Kafka's own type is a 32-bit integer
	return time.Duration(n) * time.Millisecond, err
}

// jaasConfig is one login module of a JAAS configuration, jaasOption one of its quoted options.
var (
	jaasConfig = regexp.MustCompile(`^\s*org\.apache\.kafka\.common\.security\.(?:plain\.Plain|scram\.Scram)LoginModule\s+required\s+([^;]*);?\s*$`)
	jaasOption = regexp.MustCompile(`(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"`)
)

// jaas takes user name and password from sasl.jaas.config, references kept. Its text is never part of an error.
func (p *parsing) jaas(v value, sasl *SASL) {
	text := v.secret()
	if text == "" {
		return
	}
	module := jaasConfig.FindStringSubmatch(text)
	if module == nil {
		v.problem(`write org.apache.kafka.common.security.scram.ScramLoginModule required username="…" password="…";`,
			"sasl.jaas.config is not one PlainLoginModule or ScramLoginModule")
		return
	}
	unescape := strings.NewReplacer(`\"`, `"`, `\\`, `\`)
	for _, option := range jaasOption.FindAllStringSubmatch(module[1], -1) {
		switch option[1] {
		case "username":
			sasl.Username = unescape.Replace(option[2])
		case "password":
			sasl.Password = unescape.Replace(option[2])
		}
	}
	if literal(sasl.Password) {
		p.warnLiteral(v)
	}
}
