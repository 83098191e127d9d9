package replica

import (
	"encoding/binary"

	"github.com/millrace-io/millrace/server/internal/commitlog"
)

const summarySize = 44

func appendSummary(b []byte, partition int32, s *commitlog.Summary) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint64(b, uint64(s.StartOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(s.EndOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(s.MaxTimestamp))
	b = binary.BigEndian.AppendUint32(b, uint32(s.LastEpoch))
	return append(b, 0, 0, 0, 0)
}

func parseSummary(b []byte) (partition int32, s commitlog.Summary) {
	s.StartOffset = int64(binary.BigEndian.Uint64(b[4:]))
	s.EndOffset = int64(binary.BigEndian.Uint64(b[12:]))
	s.Size = int64(binary.BigEndian.Uint64(b[20:]))
	s.MaxTimestamp = int64(binary.BigEndian.Uint64(b[28:]))
	s.LastEpoch = int32(binary.BigEndian.Uint32(b[36:]))
	return int32(binary.BigEndian.Uint32(b)), s
}
