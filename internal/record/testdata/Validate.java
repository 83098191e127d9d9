// Asks Apache Kafka what it makes of the batches in kafka_validate.tsv. Run with the jars of a broker:
//
//   java -cp 'JARS/*' testdata/Validate.java cases.tsv > testdata/kafka_validate.tsv
//
// In:  name, version of Produce, topic configs (k=v,k=v), clock in ms, bytes sent (hex)
// Out: the same, then the error code, the indexes of the records refused, and what lies in the log (hex).
import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.common.compress.*;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.RequestLocal;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.*;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

public class Validate {
  public static void main(String[] args) throws Exception {
    KafkaScheduler scheduler = new KafkaScheduler(1);
    scheduler.startup();
    BrokerTopicStats stats = new BrokerTopicStats();
    for (String line : Files.readAllLines(Path.of(args[0]))) {
      String[] f = line.split("\t", -1);
      if (line.startsWith("#") || f.length < 5) { System.out.println(line); continue; }
      long now = Long.parseLong(f[3]);
      Time time = (Time) Proxy.newProxyInstance(Time.class.getClassLoader(), new Class<?>[] {Time.class}, (p, m, a) -> {
        if (m.getName().equals("milliseconds")) return now;
        try { return m.invoke(Time.SYSTEM, a); } catch (InvocationTargetException e) { throw e.getCause(); }
      });
      Map<String, String> props = new HashMap<>();
      for (String kv : f[2].split(",")) if (!kv.isEmpty()) props.put(kv.substring(0, kv.indexOf("=")), kv.substring(kv.indexOf("=") + 1).replace(";", ","));
      File dir = new File(Files.createTempDirectory("validate").toFile(), "t-0");
      dir.mkdirs();
      UnifiedLog log = UnifiedLog.create(dir, new LogConfig(props), 0L, 0L, scheduler, stats, time, 900000,
          new ProducerStateManagerConfig(86400000, false), 600000, new LogDirFailureChannel(1), true, Optional.empty());
      String code = "NONE", indexes = "";
      try {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HexFormat.of().parseHex(f[4])));
        ProduceRequest.validateRecords(Short.parseShort(f[1]), records);
        log.appendAsLeader(records, 5, AppendOrigin.CLIENT);
      } catch (RecordValidationException e) {
        code = Errors.forException(e.invalidException()).name();
        indexes = e.recordErrors().stream().map(r -> String.valueOf(r.batchIndex)).collect(Collectors.joining(","));
        System.err.println(f[0] + ": " + e.invalidException().getMessage() + " | " + e.recordErrors().get(0).message);
      } catch (Throwable e) {
        code = Errors.forException(e).name();
        System.err.println(f[0] + ": " + e);
      }
      log.flush(true);
      String stored = HexFormat.of().formatHex(Files.readAllBytes(dir.toPath().resolve("00000000000000000000.log")));
      log.close();
      System.out.println(String.join("\t", f[0], f[1], f[2], f[3], f[4], code, indexes, stored));
    }
    System.out.flush();
    System.exit(0);
  }
}
