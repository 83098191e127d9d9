package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
)

func (w *world) describeLogDirs(topics ...wire.DescribeLogDirsRequestTopics) {
	w.add(Step{What: "describe log directories", Key: wire.KeyDescribeLogDirs, Version: w.at(wire.KeyDescribeLogDirs), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeLogDirsRequest()
		r.Topics = topics
		return r
	}})
}

var describeLogDirsValid = []move{
	func(w *world) {
		t := w.topic()
		one := wire.DescribeLogDirsRequestTopics{Topic: t.name}
		for p := range t.partitions {
			one.Partitions = append(one.Partitions, int32(p))
		}
		w.describeLogDirs(one)
	},
	func(w *world) { w.describeLogDirs() },
	func(w *world) {
		w.describeLogDirs(wire.DescribeLogDirsRequestTopics{Topic: w.topic().name, Partitions: []int32{0}}, wire.DescribeLogDirsRequestTopics{Topic: "nowhere", Partitions: []int32{0}})
	},
	func(w *world) { w.describeLogDirs([]wire.DescribeLogDirsRequestTopics{}...) },
	func(w *world) { // after records came and went
		t := w.makeTopic(2, nil)
		b := w.batch(2)
		b.codec = 0
		w.produce(t, 0, b, -1)
		w.produce(t, 1, b, -1)
		w.deleteRecords(t.name, 1, -1)
		w.describeLogDirs(wire.DescribeLogDirsRequestTopics{Topic: t.name, Partitions: []int32{1, 0}})
		t.partitions[1].start, t.partitions[1].end = 2, 2
	},
	func(w *world) { // the empty list of topics is none
		w.add(Step{What: "describe no log directories", Key: wire.KeyDescribeLogDirs, Version: w.at(wire.KeyDescribeLogDirs), Make: func(s *Side) wire.Message {
			r := wire.NewDescribeLogDirsRequest()
			r.Topics = []wire.DescribeLogDirsRequestTopics{}
			return r
		}})
	},
}

var describeLogDirsBad = []move{
	func(w *world) {
		w.describeLogDirs(wire.DescribeLogDirsRequestTopics{Topic: "nowhere", Partitions: []int32{3}})
	},
	func(w *world) {
		w.describeLogDirs(wire.DescribeLogDirsRequestTopics{Topic: w.topic().name, Partitions: []int32{-1, 99}})
	},
	func(w *world) {
		w.describeLogDirs(wire.DescribeLogDirsRequestTopics{Topic: "", Partitions: []int32{0}})
	},
	func(w *world) {
		w.describeLogDirs(wire.DescribeLogDirsRequestTopics{Topic: w.topic().name, Partitions: []int32{0, 0}})
	},
}

func (w *world) describeCluster(endpoints int8, operations, fenced bool, conn string) {
	w.add(Step{What: "describe the cluster", Key: wire.KeyDescribeCluster, Version: w.at(wire.KeyDescribeCluster), Conn: conn, Make: func(s *Side) wire.Message {
		r := wire.NewDescribeClusterRequest()
		r.EndpointType, r.IncludeClusterAuthorizedOperations, r.IncludeFencedBrokers = endpoints, operations, fenced
		return r
	}})
}

var describeClusterValid = []move{
	func(w *world) { w.describeCluster(1, false, false, "") },
	func(w *world) { w.describeCluster(1, true, true, "") },
	func(w *world) { w.describeCluster(2, w.IntN(2) == 0, false, controllerConn) },
}

var describeClusterBad = []move{
	func(w *world) { w.describeCluster(2, false, false, "") },
	func(w *world) { w.describeCluster(1, false, false, controllerConn) },
	func(w *world) { w.describeCluster([...]int8{0, 3, -1, 127}[w.IntN(4)], false, false, "") },
	func(w *world) { w.describeCluster([...]int8{0, 3}[w.IntN(2)], true, true, controllerConn) },
	func(w *world) { w.describeCluster(2, false, true, controllerConn) },
}

func (w *world) describeTopicPartitions(limit int32, cursor *wire.DescribeTopicPartitionsRequestCursor, names ...string) {
	w.add(Step{What: "describe topic partitions", Key: wire.KeyDescribeTopicPartitions, Version: w.at(wire.KeyDescribeTopicPartitions), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeTopicPartitionsRequest()
		r.ResponsePartitionLimit, r.Cursor = limit, cursor
		for _, name := range names {
			r.Topics = append(r.Topics, wire.DescribeTopicPartitionsRequestTopics{Name: name})
		}
		return r
	}})
}

var describeTopicPartitionsValid = []move{
	func(w *world) { w.describeTopicPartitions(2000, nil, w.topic().name) },
	func(w *world) { w.describeTopicPartitions(2000, nil) },
	func(w *world) { // page by page
		t, u := w.makeTopic(3, nil), w.makeTopic(2, nil)
		w.describeTopicPartitions(3, nil, t.name, u.name)
		w.describeTopicPartitions(4, nil, u.name, t.name)
		w.describeTopicPartitions(3, &wire.DescribeTopicPartitionsRequestCursor{TopicName: u.name, PartitionIndex: 0}, u.name, t.name)
		w.describeTopicPartitions(5, nil, t.name, u.name)
	},
	func(w *world) { w.makeTopic(3, nil); w.describeTopicPartitions(int32(1+w.IntN(3)), nil) },
	func(w *world) {
		t := w.makeTopic(3, nil)
		w.describeTopicPartitions(2, &wire.DescribeTopicPartitionsRequestCursor{TopicName: t.name, PartitionIndex: 1}, t.name)
	},
	func(w *world) {
		w.makeTopic(2, nil)
		w.describeTopicPartitions(2000, &wire.DescribeTopicPartitionsRequestCursor{TopicName: w.topic().name, PartitionIndex: 0})
	},
}

var describeTopicPartitionsBad = []move{
	func(w *world) { w.describeTopicPartitions(2000, nil, "nowhere") },
	func(w *world) { w.describeTopicPartitions(2000, nil, "not a name!", w.topic().name) },
	func(w *world) { w.describeTopicPartitions(0, nil, w.topic().name) },
	func(w *world) { w.describeTopicPartitions(-1, nil, w.topic().name) },
	func(w *world) {
		w.describeTopicPartitions(10, &wire.DescribeTopicPartitionsRequestCursor{TopicName: w.topic().name, PartitionIndex: -1})
	},
	func(w *world) {
		w.describeTopicPartitions(10, &wire.DescribeTopicPartitionsRequestCursor{TopicName: "nowhere", PartitionIndex: 0}, "nowhere")
	},
	func(w *world) {
		w.describeTopicPartitions(10, &wire.DescribeTopicPartitionsRequestCursor{TopicName: w.topic().name, PartitionIndex: 500})
	},
	func(w *world) { name := w.topic().name; w.describeTopicPartitions(10, nil, name, name) },
	func(w *world) { w.describeTopicPartitions(1, nil, "nowhere", w.topic().name, w.makeTopic(2, nil).name) },
	func(w *world) { w.describeTopicPartitions(3000, nil, "a", "", "b") },
	func(w *world) { // a cursor before, behind and in the midst of what is asked for
		t, u := w.makeTopic(2, nil), w.makeTopic(2, nil)
		for _, at := range []string{"a", t.name, t.name + "0", u.name, "zz", ""} {
			w.describeTopicPartitions(10, &wire.DescribeTopicPartitionsRequestCursor{TopicName: at, PartitionIndex: 1}, u.name, t.name)
		}
	},
	func(w *world) { w.describeTopicPartitions(10, nil, "") },
}

func (w *world) describeQuorum(topics ...wire.DescribeQuorumRequestTopics) {
	w.add(Step{What: "describe the quorum", Key: wire.KeyDescribeQuorum, Version: w.at(wire.KeyDescribeQuorum), Conn: w.on(wire.KeyDescribeQuorum), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeQuorumRequest()
		r.Topics = topics
		return r
	}})
}

func quorumOf(topic string, partitions ...int32) wire.DescribeQuorumRequestTopics {
	one := wire.DescribeQuorumRequestTopics{TopicName: topic}
	for _, p := range partitions {
		one.Partitions = append(one.Partitions, wire.DescribeQuorumRequestPartitions{PartitionIndex: p})
	}
	return one
}

var describeQuorumValid = []move{
	func(w *world) { w.describeQuorum(quorumOf("__cluster_metadata", 0)) },
}

var describeQuorumBad = []move{
	func(w *world) { w.describeQuorum() },
	func(w *world) { w.describeQuorum(quorumOf("__cluster_metadata")) },
	func(w *world) { w.describeQuorum(quorumOf("__cluster_metadata", 1)) },
	func(w *world) { w.describeQuorum(quorumOf("__cluster_metadata", 0, 1)) },
	func(w *world) { w.describeQuorum(quorumOf("__cluster_metadata", 0), quorumOf("__cluster_metadata", 0)) },
	func(w *world) { w.describeQuorum(quorumOf("__cluster_metadata", 0), quorumOf(w.topic().name, 0)) },
	func(w *world) { w.describeQuorum(quorumOf(w.topic().name, 0)) },
	func(w *world) { w.describeQuorum(quorumOf("", 0)) },
}

func (w *world) apiVersions(conn, name, software string, version int16, change func(s *Side, r *wire.ApiVersionsRequest)) {
	w.add(Step{What: "api versions", Key: wire.KeyApiVersions, Version: version, Conn: conn, Make: func(s *Side) wire.Message {
		r := wire.NewApiVersionsRequest()
		r.ClientSoftwareName, r.ClientSoftwareVersion = name, software
		if change != nil {
			change(s, r)
		}
		return r
	}})
}

var apiVersionsValid = []move{
	func(w *world) { w.apiVersions("", "millrace-conformance", "1.0", w.at(wire.KeyApiVersions), nil) },
	func(w *world) {
		w.apiVersions(controllerConn, "millrace-conformance", "1.0", w.at(wire.KeyApiVersions), nil)
	},
	func(w *world) {
		w.apiVersions("", "x", "1", w.at(wire.KeyApiVersions), func(s *Side, r *wire.ApiVersionsRequest) { r.ClusterID, r.NodeID = &s.ClusterID, 1 })
	},
}

var apiVersionsBad = []move{
	func(w *world) { w.apiVersions("", "", "", w.at(wire.KeyApiVersions), nil) },
	func(w *world) { w.apiVersions("", "a b", "1", w.at(wire.KeyApiVersions), nil) },
	func(w *world) { w.apiVersions("", "ok", "-1-", w.at(wire.KeyApiVersions), nil) },
	func(w *world) {
		w.apiVersions("", "ok", "1", w.at(wire.KeyApiVersions), func(s *Side, r *wire.ApiVersionsRequest) { r.NodeID = 12 })
	},
	func(w *world) {
		w.apiVersions("", "ok", "1", w.at(wire.KeyApiVersions), func(s *Side, r *wire.ApiVersionsRequest) { r.ClusterID, r.NodeID = ptr("another"), 1 })
	},
	func(w *world) { // half of a node: its number or its cluster alone
		w.apiVersions("", "ok", "1", w.at(wire.KeyApiVersions), func(s *Side, r *wire.ApiVersionsRequest) { r.ClusterID = &s.ClusterID })
		w.apiVersions("", "", "1", w.at(wire.KeyApiVersions), func(s *Side, r *wire.ApiVersionsRequest) { r.ClusterID, r.NodeID = &s.ClusterID, 1 })
	},
	func(w *world) { // what is not answered here
		w.add(Step{What: "produce to a controller", Key: wire.KeyProduce, Version: w.version(wire.KeyProduce), Conn: controllerConn, Make: func(s *Side) wire.Message { return wire.NewProduceRequest() }},
			Step{What: "metadata of a controller", Key: wire.KeyMetadata, Version: w.version(wire.KeyMetadata), Conn: controllerConn, Make: func(s *Side) wire.Message { return wire.NewMetadataRequest() }},
			Step{What: "a heartbeat to a broker", Key: wire.KeyBrokerHeartbeat, Version: 0, Make: func(s *Side) wire.Message { return wire.NewBrokerHeartbeatRequest() }})
		w.apiVersions("", "ok", "1", w.at(wire.KeyApiVersions), nil)
	},
	func(w *world) { // a version of the future
		w.add(Step{What: "api versions of the future", Key: wire.KeyApiVersions, Version: w.at(wire.KeyApiVersions), Make: func(s *Side) wire.Message {
			r := wire.NewApiVersionsRequest()
			r.ClientSoftwareName, r.ClientSoftwareVersion = "ok", "1"
			return r
		}})
		w.last().Future = int16(6 + w.IntN(90))
	},
}
