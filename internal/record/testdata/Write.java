// Writes batches with Apache Kafka's own classes, for the reader's tests. Run with the jars of a broker:
//
//   java -cp 'JARS/*' testdata/Write.java > testdata/kafka_batches.tsv
//
// Out: name, bytes (hex), then a column per record: offset, timestamp, key and value (hex, "-" null, long ones as
// #length:crc32), headers.
import java.nio.ByteBuffer;
import java.util.*;
import org.apache.kafka.common.compress.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.record.internal.Record;

public class Write {
  static String hex(ByteBuffer b) {
    if (b == null) return "-";
    byte[] a = new byte[b.remaining()];
    b.duplicate().get(a);
    return HexFormat.of().formatHex(a);
  }

  static String shown(ByteBuffer b) {
    if (b == null || b.remaining() <= 64) return hex(b);
    java.util.zip.CRC32 crc = new java.util.zip.CRC32();
    crc.update(b.duplicate());
    return "#" + b.remaining() + ":" + Long.toHexString(crc.getValue());
  }

  static void print(String name, MemoryRecords records) {
    StringBuilder line = new StringBuilder(name + "\t" + hex(records.buffer()));
    for (Record r : records.records()) {
      line.append("\t" + r.offset() + " " + r.timestamp() + " " + hex(r.key()) + " " + shown(r.value()));
      for (Header h : r.headers()) line.append(" " + HexFormat.of().formatHex(h.key().getBytes()) + "=" + (h.value() == null ? "-" : HexFormat.of().formatHex(h.value())));
    }
    System.out.println(line);
  }

  public static void main(String[] args) {
    System.out.println("# Batches written by Apache Kafka 4.4.0: see Write.java for the columns.");
    byte[] big = new byte[200], large = new byte[150_000];
    for (int i = 0; i < large.length; i++) large[i] = (byte) (i / 100 * 31 + i % 3);
    for (int i = 0; i < big.length; i++) big[i] = (byte) ((i * i) >> 7);
    for (byte magic = 0; magic <= 2; magic++) {
      for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
        if (codec.equals("zstd") && magic < 2) continue;
        for (TimestampType type : List.of(TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME)) {
          if (magic == 0 && type == TimestampType.LOG_APPEND_TIME) continue;
          for (int n : new int[] {1, 2, 20}) {
            if (n == 2 && codec.equals("none")) continue;
            MemoryRecordsBuilder b = MemoryRecords.builder(ByteBuffer.allocate(1 << 20), magic, Compression.of(codec).build(),
                magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : type, 1000L, 1700000009999L, 77L, (short) 3, 42, false, 9);
            if (magic < 2) b = MemoryRecords.builder(ByteBuffer.allocate(1 << 20), magic, Compression.of(codec).build(),
                magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : type, 1000L, 1700000009999L);
            for (int i = 0; i < n; i++) {
              byte[] key = i % 3 == 1 ? null : ("key-" + i).getBytes();
              byte[] value = i % 7 == 2 ? null : n == 2 ? large : i % 5 == 4 ? big : ("value " + i).getBytes();
              Header[] headers = magic < 2 || i % 4 != 0 ? Record.EMPTY_HEADERS : new Header[] {new RecordHeader("h\u00e9", new byte[] {1, 2}), new RecordHeader("", null)};
              long ts = magic == 0 ? -1 : 1700000000000L + (i % 2 == 0 ? i : -i);
              if (magic < 2) b.append(ts, key, value); else b.append(ts, key, value, headers);
            }
            print("magic " + magic + " " + codec + " " + type + " " + n, b.build());
          }
        }
      }
    }
    print("commit", MemoryRecords.withEndTransactionMarker(55L, 1700000000123L, 4, 1234567890123L, (short) 5, new EndTransactionMarker(ControlRecordType.COMMIT, 17)));
    print("abort", MemoryRecords.withEndTransactionMarker(56L, 1700000000124L, 4, 8L, (short) 0, new EndTransactionMarker(ControlRecordType.ABORT, 0)));
    print("leader change", MemoryRecords.withLeaderChangeMessage(70L, 1700000000125L, 6, ByteBuffer.allocate(1024),
        new LeaderChangeMessage().setVersion((short) 1).setLeaderId(3).setVoters(List.of(new LeaderChangeMessage.Voter().setVoterId(3)))));
    print("snapshot header", MemoryRecords.withSnapshotHeaderRecord(0L, 1700000000126L, 6, ByteBuffer.allocate(1024), new SnapshotHeaderRecord().setVersion((short) 0).setLastContainedLogTimestamp(5L)));
    print("snapshot footer", MemoryRecords.withSnapshotFooterRecord(9L, 1700000000127L, 6, ByteBuffer.allocate(1024), new SnapshotFooterRecord().setVersion((short) 0)));
  }
}
