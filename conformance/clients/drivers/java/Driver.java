// The Java client as a driver: see doc.go of the package above for the command line.
import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Driver {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("session")) {
            session(args[1]);
            return;
        }
        if (args[0].equals("member")) {
            Map<String, String> settings = new HashMap<>();
            for (String word : List.of(args).subList(2, args.length)) {
                String[] pair = word.split("=", 2);
                settings.put(pair[0], pair[1]);
            }
            member(args[1], settings);
            return;
        }
        int partitions = Integer.parseInt(args[2]);
        if (args[0].equals("write")) {
            for (int i = 4; i < args.length; i++) {
                String[] topicAndCodec = args[i].split("=");
                write(args[1], partitions, args[3], topicAndCodec[0], topicAndCodec[1]);
            }
            return;
        }
        read(args[1], partitions, List.of(args).subList(3, args.length));
    }

    static void write(String bootstrap, int partitions, String file, String topic, String codec) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("acks", "all");
        config.put("compression.type", codec);
        config.put("linger.ms", "5");
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
                DataInputStream in = new DataInputStream(new BufferedInputStream(new FileInputStream(file), 1 << 20))) {
            for (int n = 0;; n++) {
                byte[] key;
                try {
                    key = in.readNBytes(in.readInt());
                } catch (EOFException end) {
                    break;
                }
                byte[] value = in.readNBytes(in.readInt());
                producer.send(new ProducerRecord<>(topic, n % partitions, key, value), (metadata, e) -> {
                    if (e != null) {
                        failed.compareAndSet(null, e);
                    }
                });
            }
            producer.flush();
        }
        if (failed.get() != null) {
            throw failed.get();
        }
    }

    static void read(String bootstrap, int partitions, List<String> topics) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.auto.commit", "false");
        Map<TopicPartition, MessageDigest> sums = new LinkedHashMap<>();
        Map<TopicPartition, Integer> counts = new HashMap<>();
        for (String topic : topics) {
            for (int p = 0; p < partitions; p++) {
                sums.put(new TopicPartition(topic, p), MessageDigest.getInstance("SHA-256"));
                counts.put(new TopicPartition(topic, p), 0);
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(sums.keySet());
            consumer.seekToBeginning(sums.keySet());
            Map<TopicPartition, Long> ends = consumer.endOffsets(sums.keySet());
            long deadline = System.currentTimeMillis() + 60_000;
            while (!sums.keySet().stream().allMatch(tp -> consumer.position(tp) >= ends.get(tp))) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("nothing for a minute");
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    deadline = System.currentTimeMillis() + 60_000;
                    TopicPartition tp = new TopicPartition(r.topic(), r.partition());
                    MessageDigest sum = sums.get(tp);
                    sum.update(ByteBuffer.allocate(4).putInt(r.key().length).array());
                    sum.update(r.key());
                    sum.update(ByteBuffer.allocate(4).putInt(r.value().length).array());
                    sum.update(r.value());
                    counts.merge(tp, 1, Integer::sum);
                }
            }
        }
        sums.forEach((tp, sum) -> System.out.println(tp.topic() + " " + tp.partition() + " " + counts.get(tp) + " " + HexFormat.of().formatHex(sum.digest())));
    }

    static void session(String bootstrap) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.idempotence", "true");
        config.put("max.request.size", "8000000");
        config.put("metadata.max.age.ms", "500");
        config.put("max.block.ms", "20000");
        config.put("request.timeout.ms", "15000");
        config.put("delivery.timeout.ms", "20000");
        config.put("linger.ms", "0");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] words = line.split(" ");
                try {
                    if (words[0].equals("put")) {
                        System.out.println("ok " + put(producer, words));
                    } else {
                        get(bootstrap, new TopicPartition(words[1], Integer.parseInt(words[2])));
                        System.out.println("ok");
                    }
                } catch (ExecutionException e) {
                    System.out.println("error " + e.getCause());
                } catch (KafkaException | IllegalStateException e) {
                    System.out.println("error " + e);
                }
            }
        }
    }

    static long put(KafkaProducer<byte[], byte[]> producer, String[] words) throws Exception {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(words[1], Integer.valueOf(words[2]), Long.valueOf(words[3]), unword(words[4]), unword(words[5]));
        for (int i = 6; i < words.length; i++) {
            String[] header = words[i].split(":");
            record.headers().add(new String(unword(header[0]), StandardCharsets.UTF_8), unword(header[1]));
        }
        return producer.send(record).get().offset();
    }

    static void get(String bootstrap, TopicPartition partition) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.auto.commit", "false");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            long deadline = System.currentTimeMillis() + 60_000;
            while (consumer.position(partition) < end) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("nothing for a minute");
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    StringBuilder line = new StringBuilder("record " + r.offset() + " " + r.timestamp() + " " + word(r.key()) + " " + word(r.value()));
                    for (Header h : r.headers()) {
                        line.append(" ").append(word(h.key().getBytes(StandardCharsets.UTF_8))).append(":").append(word(h.value()));
                    }
                    System.out.println(line);
                }
            }
        }
    }

    static void tell(String kind, Object... words) {
        Instant now = Instant.now();
        StringBuilder line = new StringBuilder().append(now.getEpochSecond() * 1_000_000_000L + now.getNano()).append(' ').append(kind);
        for (Object w : words) {
            line.append(' ').append(w);
        }
        System.out.println(line);
    }

    static Object[] numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(TopicPartition::partition).toArray();
    }

    static void member(String bootstrap, Map<String, String> s) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", s.get("group"));
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", "earliest");
        config.put("fetch.max.wait.ms", "100");
        config.put("max.poll.records", "1");
        if (s.get("protocol").equals("consumer")) {
            config.put("group.protocol", "consumer");
            config.put("group.remote.assignor", s.get("assignor"));
        } else {
            config.put("session.timeout.ms", s.get("session"));
            config.put("heartbeat.interval.ms", s.get("heartbeat"));
            config.put("partition.assignment.strategy", Map.of("range", "org.apache.kafka.clients.consumer.RangeAssignor", "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
                    "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor").get(s.get("assignor")));
        }
        if (!s.get("instance").isEmpty()) {
            config.put("group.instance.id", s.get("instance"));
        }
        CountDownLatch ended = new CountDownLatch(1);
        Thread input = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (IOException closed) {
                // It ended as well.
            }
            ended.countDown();
        });
        input.setDaemon(true);
        input.start();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(s.get("topic")), new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    Object[] words = Arrays.copyOf(numbers(partitions), partitions.size() + 1);
                    words[partitions.size()] = "@" + consumer.groupMetadata().generationId();
                    tell("assigned", words);
                }

                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    tell("revoked", numbers(partitions));
                }

                public void onPartitionsLost(Collection<TopicPartition> partitions) {
                    tell("lost", numbers(partitions));
                }
            });
            while (ended.getCount() > 0) {
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(100))) {
                    tell("read", r.partition(), r.offset());
                    try {
                        consumer.commitSync(Map.of(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1)));
                        tell("committed", r.partition(), r.offset() + 1);
                    } catch (KafkaException e) {
                        tell("refused", e.toString().replace('\n', ' '));
                    }
                }
            }
        }
    }

    static String word(byte[] b) {
        return b == null ? "null" : "x" + HexFormat.of().formatHex(b);
    }

    static byte[] unword(String s) {
        return s.equals("null") ? null : HexFormat.of().parseHex(s.substring(1));
    }
}
