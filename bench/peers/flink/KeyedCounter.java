import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The keyed counter on Flink's DataStream API, JobManager and tasks in one process, counts on the heap. Between its
 * operators a record is one array, key before value, which Flink's own serializer for arrays copies whole: the least that
 * a shuffle can cost. Arguments and the contract are in ../README.md.
 */
public final class KeyedCounter {
  /** Every key of the load has so many bytes. */
  private static final int KEY_BYTES = 9;
  /** Where a record's value has room for the count. */
  private static final int COUNT_AT = 8;
  /** Larger batches than the 16 KiB of the default: they save requests under full load. */
  private static final int BATCH_BYTES = 256 << 10;
  /** Above any pause between two checkpoints, and below what the broker allows. */
  private static final int TRANSACTION_MILLIS = 900_000;

  private static final TypeInformation<byte[]> RECORD = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;

  public static void main(String[] args) throws Exception {
    Map<String, String> given = new HashMap<>();
    for (String arg : args) {
      String[] pair = arg.split("=", 2);
      given.put(pair[0], pair[1]);
    }
    endWithInput();
    int tasks = Integer.parseInt(given.get("tasks"));
    StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(tasks, configuration(given));
    env.fromSource(source(given), WatermarkStrategy.noWatermarks(), "in")
        .keyBy(KeyedCounter::key, Types.STRING)
        .process(new Count())
        .returns(RECORD)
        .sinkTo(sink(given));
    env.execute("keyed counter");
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

  private static Configuration configuration(Map<String, String> given) {
    Configuration c = new Configuration();
    c.setString("state.backend.type", "hashmap");
    c.setString("pipeline.object-reuse", "true");
    c.setString("pipeline.generic-types", "false");
    c.setString("execution.buffer-timeout.interval", "1 ms");
    c.setString("taskmanager.numberOfTaskSlots", given.get("tasks"));
    c.setString("taskmanager.memory.network.min", "128m");
    c.setString("taskmanager.memory.network.max", "128m");
    c.setString("restart-strategy.type", "disable");
    c.setString("execution.checkpointing.interval", given.get("interval") + " ms");
    c.setString("execution.checkpointing.mode", exact(given) ? "EXACTLY_ONCE" : "AT_LEAST_ONCE");
    c.setString("execution.checkpointing.storage", "filesystem");
    c.setString("execution.checkpointing.dir", "file://" + given.get("dir"));
    return c;
  }

  private static boolean exact(Map<String, String> given) {
    return given.get("delivery").equals("exactly-once");
  }

  private static KafkaSource<byte[]> source(Map<String, String> given) {
    return KafkaSource.<byte[]>builder()
        .setBootstrapServers(given.get("brokers"))
        .setTopics(given.get("in"))
        .setGroupId(given.get("id"))
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setDeserializer(new Joined())
        .setProperty("max.poll.records", "2000")
        .setProperty("partition.discovery.interval.ms", "-1")
        .build();
  }

  private static KafkaSink<byte[]> sink(Map<String, String> given) {
    Properties producer = new Properties();
    producer.setProperty("batch.size", "" + BATCH_BYTES);
    producer.setProperty("linger.ms", "5");
    producer.setProperty("transaction.timeout.ms", "" + TRANSACTION_MILLIS);
    return KafkaSink.<byte[]>builder()
        .setBootstrapServers(given.get("brokers"))
        .setKafkaProducerConfig(producer)
        .setRecordSerializer(new Parted(given.get("out")))
        .setDeliveryGuarantee(exact(given) ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE)
        .setTransactionalIdPrefix(given.get("id"))
        .build();
  }

  private static String key(byte[] record) {
    return new String(record, 0, KEY_BYTES, StandardCharsets.ISO_8859_1);
  }

  private static final class Count extends KeyedProcessFunction<String, byte[], byte[]> {
    private transient ValueState<Long> count;

    @Override
    public void open(OpenContext context) {
      count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
    }

    @Override
    public void processElement(byte[] record, Context context, Collector<byte[]> out) throws Exception {
      Long before = count.value();
      long n = before == null ? 1 : before + 1;
      count.update(n);
      ByteBuffer.wrap(record).putLong(KEY_BYTES + COUNT_AT, n);
      out.collect(record);
    }
  }

  /** Joined makes one array of a record's key and value. */
  private static final class Joined implements KafkaRecordDeserializationSchema<byte[]> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<byte[]> out) {
      byte[] joined = Arrays.copyOf(record.key(), KEY_BYTES + record.value().length);
      System.arraycopy(record.value(), 0, joined, KEY_BYTES, record.value().length);
      out.collect(joined);
    }

    @Override
    public TypeInformation<byte[]> getProducedType() {
      return RECORD;
    }
  }

  /** Parted makes a record of such an array. */
  private static final class Parted implements KafkaRecordSerializationSchema<byte[]> {
    private final String topic;

    Parted(String topic) {
      this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(byte[] record, KafkaSinkContext context, Long timestamp) {
      return new ProducerRecord<>(topic, Arrays.copyOf(record, KEY_BYTES), Arrays.copyOfRange(record, KEY_BYTES, record.length));
    }
  }
}
