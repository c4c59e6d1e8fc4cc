import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The keyed counter on Kafka Streams: one topology of source, processor and sink, with the counts in a store in memory
 * whose changes go to a changelog topic. Arguments and the contract are in ../README.md.
 */
public final class KeyedCounter {
  private static final String STORE = "counts";
  /** Where a record's value has room for the count. */
  private static final int COUNT_AT = 8;
  /** Larger batches than the 16 KiB of the default: they save requests under full load. */
  private static final int BATCH_BYTES = 256 << 10;
  private static final Duration CLOSE_LIMIT = Duration.ofSeconds(10);

  public static void main(String[] args) throws Exception {
    Map<String, String> given = new HashMap<>();
    for (String arg : args) {
      String[] pair = arg.split("=", 2);
      given.put(pair[0], pair[1]);
    }
    KafkaStreams streams = new KafkaStreams(topology(given), configuration(given));
    // A thread that dies leaves its partitions unread: the run is void, and the process says so by its end.
    streams.setUncaughtExceptionHandler(e -> {
      e.printStackTrace();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.setStateListener((state, before) -> {
      if (state == KafkaStreams.State.ERROR) {
        Runtime.getRuntime().halt(1);
      }
    });
    streams.start();
    while (System.in.read() >= 0) {} // the runner ends the program by closing its input
    streams.close(CLOSE_LIMIT);
    System.exit(0);
  }

  private static Topology topology(Map<String, String> given) {
    var counts = Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(STORE), Serdes.ByteArray(), Serdes.Long())
        .withLoggingEnabled(Map.of())
        .withCachingDisabled(); // a cache would leave out counts that the checker waits for
    return new Topology()
        .addSource("in", new ByteArrayDeserializer(), new ByteArrayDeserializer(), given.get("in"))
        .addProcessor("count", Count::new, "in")
        .addStateStore(counts, "count")
        .addSink("out", given.get("out"), new ByteArraySerializer(), new ByteArraySerializer(), "count");
  }

  private static Properties configuration(Map<String, String> given) {
    boolean exact = given.get("delivery").equals("exactly-once");
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("id"));
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("brokers"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, given.get("dir"));
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(given.get("tasks")));
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, exact ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Long.parseLong(given.get("interval")));
    p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), BATCH_BYTES);
    // Kafka Streams raises a producer's linger to 100 ms; this is the producer's own default.
    p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
    return p;
  }

  private static final class Count implements Processor<byte[], byte[], byte[], byte[]> {
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], Long> counts;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
      this.context = context;
      counts = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      Long before = counts.get(record.key());
      long n = before == null ? 1 : before + 1;
      counts.put(record.key(), n);
      ByteBuffer.wrap(record.value()).putLong(COUNT_AT, n);
      context.forward(record);
    }
  }
}
