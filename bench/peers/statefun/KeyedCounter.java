import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.statefun.flink.harness.Harness;
import org.apache.flink.statefun.sdk.Context;
import org.apache.flink.statefun.sdk.FunctionType;
import org.apache.flink.statefun.sdk.StatefulFunction;
import org.apache.flink.statefun.sdk.annotations.Persisted;
import org.apache.flink.statefun.sdk.egress.generated.KafkaProducerRecord;
import org.apache.flink.statefun.sdk.io.EgressIdentifier;
import org.apache.flink.statefun.sdk.reqreply.generated.TypedValue;
import org.apache.flink.statefun.sdk.spi.StatefulFunctionModule;
import org.apache.flink.statefun.sdk.state.PersistedValue;

/**
 * The keyed counter on StateFun, as an embedded function: it runs in the host's own process, without HTTP, and the host is
 * set as in the project's own image, with counts in RocksDB. Arguments and the contract are in ../README.md.
 */
public final class KeyedCounter implements StatefulFunction {
  private static final FunctionType TYPE = new FunctionType("bench", "count");
  private static final EgressIdentifier<TypedValue> OUT = new EgressIdentifier<>("bench", "out", TypedValue.class);
  private static final String RECORD_TYPE = "type.googleapis.com/" + KafkaProducerRecord.getDescriptor().getFullName();
  /** Where a record's value has room for the count. */
  private static final int COUNT_AT = 8;
  /** The runtime makes the module by its name, without arguments; the topic goes there as a property of the process. */
  private static final String OUT_TOPIC = "peers.out";

  private static final String MODULE = """
      kind: io.statefun.kafka.v1/ingress
      spec:
        id: bench/in
        address: %1$s
        consumerGroupId: %2$s
        startupPosition: {type: earliest}
        topics:
          - {topic: %3$s, valueType: bench/record, targets: [bench/count]}
      ---
      kind: io.statefun.kafka.v1/egress
      spec:
        id: bench/out
        address: %1$s
        deliverySemantic: {type: %4$s}
        properties:
          - linger.ms: "5"
          - batch.size: "262144"
      """;

  @Persisted private final PersistedValue<Long> count = PersistedValue.of("count", Long.class);
  private final String topic = System.getProperty(OUT_TOPIC);

  public static void main(String[] args) throws Exception {
    Map<String, String> given = new HashMap<>();
    for (String arg : args) {
      String[] pair = arg.split("=", 2);
      given.put(pair[0], pair[1]);
    }
    endWithInput();
    System.setProperty(OUT_TOPIC, given.get("out"));
    Path dir = Files.createDirectories(Path.of(given.get("dir")));
    boolean exact = given.get("delivery").equals("exactly-once");
    String semantic = exact ? "exactly-once, transactionTimeout: 15min" : "at-least-once";
    Path module = dir.resolve("module.yaml");
    Files.writeString(module, String.format(MODULE, given.get("brokers"), given.get("id"), given.get("in"), semantic));
    new Harness()
        .withConfiguration("statefun.remote.module-name", module.toUri().toString())
        .withConfiguration("parallelism.default", given.get("tasks"))
        .withConfiguration("execution.checkpointing.interval", given.get("interval") + "ms")
        .withConfiguration("execution.checkpointing.mode", exact ? "EXACTLY_ONCE" : "AT_LEAST_ONCE")
        .withConfiguration("execution.buffer-timeout", "1ms")
        .withConfiguration("state.backend", "rocksdb")
        .withConfiguration("state.backend.incremental", "true")
        .withConfiguration("state.checkpoints.dir", dir.resolve("checkpoints").toUri().toString())
        .withConfiguration("io.tmp.dirs", dir.toString())
        .withConfiguration("restart-strategy", "none")
        .withConfiguration("rest.bind-address", "127.0.0.1")
        .withConfiguration("rest.address", "127.0.0.1")
        .withConfiguration("rest.bind-port", "0")
        .withConfiguration("jobmanager.bind-host", "127.0.0.1")
        .withConfiguration("taskmanager.bind-host", "127.0.0.1")
        .start();
  }

  /** The runner ends the program by closing its input. A job that is cut off there has no work to save. */
  private static void endWithInput() {
    Thread watch = new Thread(() -> {
      try {
        while (System.in.read() >= 0) {}
      } catch (java.io.IOException e) {
        e.printStackTrace();
      }
      Runtime.getRuntime().halt(0);
    });
    watch.setDaemon(true);
    watch.start();
  }

  @Override
  public void invoke(Context context, Object message) {
    long n = count.getOrDefault(0L) + 1;
    count.set(n);
    byte[] value = ((TypedValue) message).getValue().toByteArray();
    ByteBuffer.wrap(value).putLong(COUNT_AT, n);
    KafkaProducerRecord record = KafkaProducerRecord.newBuilder()
        .setTopic(topic)
        .setKey(context.self().id())
        .setValueBytes(ByteString.copyFrom(value))
        .build();
    context.send(OUT, TypedValue.newBuilder().setTypename(RECORD_TYPE).setHasValue(true).setValue(record.toByteString()).build());
  }

  /** Functions is what the runtime finds through META-INF/services. */
  public static final class Functions implements StatefulFunctionModule {
    @Override
    public void configure(Map<String, String> global, Binder binder) {
      binder.bindFunctionProvider(TYPE, type -> new KeyedCounter());
    }
  }
}
