package kafkabroker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pom names what Maven fetches: Kafka with all it needs, and a logger for it.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>run.weir</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>%s</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.1</version>
    </dependency>
  </dependencies>
</project>
`

const logging = `rootLogger.level=warn
rootLogger.appenderRef.stderr.ref=stderr
appender.stderr.type=Console
appender.stderr.name=stderr
appender.stderr.target=SYSTEM_ERR
appender.stderr.layout.type=PatternLayout
appender.stderr.layout.pattern=%d %p %c %m%n
`

// prepare brings jars, configuration and a formatted log directory.
func (b *Broker) prepare(ctx context.Context) error {
	for _, dir := range []*string{&b.cfg.Dir, &b.cfg.Cache} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return err
		}
	}
	if err := b.fetch(ctx); err != nil {
		return err
	}
	if b.cfg.Authority != nil {
		if err := b.Renew(b.cfg.Authority); err != nil {
			return err
		}
	}
	properties := filepath.Join(b.cfg.Dir, "server.properties")
	if err := os.WriteFile(properties, []byte(b.properties()), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.cfg.Dir, "log4j2.properties"), []byte(logging), 0o600); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, "log", "meta.properties")); err == nil {
		return nil
	}
	id, err := b.run(ctx, "kafka.tools.StorageTool", "random-uuid")
	if err != nil {
		return err
	}
	args := []string{"format", "-t", id, "-c", properties}
	if !b.old() {
		args = append(args, "--standalone")
	}
	if b.cfg.Username != "" {
		args = append(args, "--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", b.cfg.Username, b.cfg.Password))
	}
	_, err = b.run(ctx, "kafka.tools.StorageTool", args...)
	return err
}

// old says whether the version is of the generation that names its quorum's voters in the configuration.
func (b *Broker) old() bool { return strings.HasPrefix(b.cfg.Version, "3.") }

// fetch brings the jars into the cache, whole or not at all.
func (b *Broker) fetch(ctx context.Context) error {
	b.jars = filepath.Join(b.cfg.Cache, "kafka-"+b.cfg.Version)
	if _, err := os.Stat(b.jars); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(b.cfg.Cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(file, fmt.Appendf(nil, pom, b.cfg.Version), 0o600); err != nil {
		return err
	}
	jars := filepath.Join(tmp, "jars")
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", file, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+jars)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch kafka %s with maven: %w: %s", b.cfg.Version, err, out)
	}
	if err := os.Rename(jars, b.jars); err != nil {
		if _, there := os.Stat(b.jars); there == nil {
			return nil // another process was faster
		}
		return err
	}
	return nil
}

// listener is one of the broker's, beside the controller's.
type listener struct {
	name     string // as a property's name has it in lower case
	protocol string // Kafka's security protocol
	address  string
	settings string // its own properties
}

// listeners are those that the configuration asks for; the first is the broker's own.
func (b *Broker) listeners() []listener {
	all := []listener{{name: "PLAINTEXT", protocol: "PLAINTEXT", address: b.Address()}}
	if b.cfg.Username != "" {
		all = append(all, listener{"SASL_PLAINTEXT", "SASL_PLAINTEXT", b.SASLAddress(), b.logins("sasl_plaintext")})
	}
	if b.cfg.Authority != nil {
		all = append(all,
			listener{"SSL", "SSL", b.TLSAddress(), b.stores("ssl", "none")},
			listener{"MUTUAL", "SSL", b.MutualTLSAddress(), b.stores("mutual", "required")})
	}
	if b.cfg.Username != "" && b.cfg.Authority != nil {
		all = append(all, listener{"SASL_SSL", "SASL_SSL", b.SASLTLSAddress(), b.stores("sasl_ssl", "none") + b.logins("sasl_ssl")})
	}
	return all
}

// logins are the properties of a listener with SASL; SCRAM's users are in the log.
func (b *Broker) logins(name string) string {
	return fmt.Sprintf(`listener.name.%[1]s.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%[2]s="%[3]s";
listener.name.%[1]s.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
`, name, b.cfg.Username, b.cfg.Password)
}

// stores are the properties of a listener with TLS.
func (b *Broker) stores(name, client string) string {
	return fmt.Sprintf(`listener.name.%[1]s.ssl.keystore.type=PEM
listener.name.%[1]s.ssl.keystore.location=%[2]s/both.pem
listener.name.%[1]s.ssl.truststore.type=PEM
listener.name.%[1]s.ssl.truststore.location=%[2]s/ca.pem
listener.name.%[1]s.ssl.client.auth=%[3]s
`, name, b.certificates(), client)
}

// properties are for one node with small internal topics.
func (b *Broker) properties() string {
	controller := address(b.cfg.Port + 1)
	var listening, protocols []string
	settings := ""
	if b.cfg.Username != "" {
		settings = "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n"
	}
	for _, l := range b.listeners() {
		listening = append(listening, l.name+"://"+l.address)
		protocols = append(protocols, l.name+":"+l.protocol)
		settings += l.settings
	}
	advertised := strings.Join(listening, ",")
	quorum := "controller.quorum.bootstrap.servers=" + controller
	if b.old() {
		quorum = "controller.quorum.voters=1@" + controller
	}
	return fmt.Sprintf(`process.roles=broker,controller
node.id=1
%s
listeners=%s,CONTROLLER://%s
advertised.listeners=%s
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,%s
%slog.dirs=%s
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.max.timeout.ms=3600000
`, quorum, advertised, controller, advertised, strings.Join(protocols, ","), settings, filepath.Join(b.cfg.Dir, "log"))
}
