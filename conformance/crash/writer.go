package crash

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// inFlight is how many batches of a writer may be under way: as many as a broker remembers of an idempotent producer.
const inFlight = 5

// writer writes to one partition with acks=all, through one node after the other.
type writer struct {
	id         int32
	to         *ledger
	codec      record.Codec
	idempotent bool
	dice       *rand.Rand
	timeout    time.Duration // of a request, until the node says that it is not acknowledged

	producerID int64
	epoch      int16
	next       int32 // the next record
	// unanswered are the batches that were sent and not answered, in order.
	unanswered []batch
	// acked counts records, resent batches.
	acked, resent int
}

type batch struct {
	first int32
	count int
	bytes []byte
}

// newWriter returns a writer; its partition's ledger expects it.
func newWriter(id int32, to *ledger, codec record.Codec, idempotent bool, seed uint64) *writer {
	to.idempotent[id] = idempotent
	return &writer{id: id, to: to, codec: codec, idempotent: idempotent, dice: rand.New(rand.NewPCG(seed, uint64(id))), timeout: 30 * time.Second, producerID: -1, epoch: -1}
}

// refusal is an answer that no kill explains.
type refusal struct{ error }

// write writes until the connection ends, as it does when the node is killed, or so many batches were answered. The
// error is a refusal, or nil.
func (w *writer) write(addr string, batches int) error {
	c, err := socket.Dial(addr, 5*time.Second)
	if err != nil {
		return nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute)) // a node that neither answers nor dies is found out
	if ready, err := w.begin(c); !ready {
		return err
	}
	sent := 0 // of unanswered
	for batches > 0 {
		for ; sent < inFlight && sent < batches; sent++ {
			if sent == len(w.unanswered) {
				w.unanswered = append(w.unanswered, w.batch())
			} else {
				w.resent++
			}
			if err := c.Send(w.request(&w.unanswered[sent]), 12); err != nil {
				return nil
			}
		}
		response := wire.NewProduceResponse()
		if err := c.Receive(response, 12); err != nil {
			return w.over(err)
		}
		if err := w.answered(response); err != nil {
			return err
		}
		sent--
		batches--
	}
	return nil
}

// begin gets a producer id, once in the writer's life, and forgets what a plain writer was not answered.
func (w *writer) begin(c *socket.Conn) (ready bool, err error) {
	if !w.idempotent {
		w.unanswered = w.unanswered[:0]
		return true, nil
	}
	if w.producerID >= 0 {
		return true, nil
	}
	response := wire.NewInitProducerIdResponse()
	request := wire.NewInitProducerIdRequest()
	request.TransactionTimeoutMs = 60_000
	if err := c.Send(request, 4); err != nil {
		return false, nil
	}
	if err := c.Receive(response, 4); err != nil {
		return false, w.over(err)
	}
	if response.ErrorCode != kafka.None {
		return false, refusal{fmt.Errorf("writer %d got no producer id: %w", w.id, response.ErrorCode)}
	}
	w.producerID, w.epoch = response.ProducerID, response.ProducerEpoch
	return true, nil
}

// over tells the end of a connection from a node that hangs.
func (w *writer) over(err error) error {
	if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() {
		return refusal{fmt.Errorf("writer %d got no answer in a minute", w.id)}
	}
	return nil
}

// batch makes the next batch.
func (w *writer) batch() batch {
	o := record.NewBuilderOptions()
	o.Codec = w.codec
	if w.idempotent {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence = w.producerID, w.epoch, w.next
	}
	b := record.NewBuilder(o)
	count := 1 + w.dice.IntN(12)
	now := time.Now().UnixMilli()
	for i := range count {
		b.Append(record.Record{Timestamp: now, Value: entry{w.id, w.next + int32(i)}.value()})
	}
	made := batch{w.next, count, b.Build(nil)}
	w.next += int32(count)
	return made
}

func (w *writer) request(b *batch) wire.Message {
	request := wire.NewProduceRequest()
	request.Acks, request.TimeoutMs = -1, int32(w.timeout.Milliseconds())
	request.TopicData = []wire.ProduceRequestTopicData{{Name: w.to.topic, PartitionData: []wire.ProduceRequestPartitionData{{Index: w.to.partition, Records: b.bytes}}}}
	return request
}

// answered takes the answer to the first of the unanswered batches.
func (w *writer) answered(response *wire.ProduceResponse) error {
	b := w.unanswered[0]
	if len(response.Responses) != 1 || len(response.Responses[0].PartitionResponses) != 1 {
		return refusal{fmt.Errorf("writer %d: an answer without its partition", w.id)}
	}
	p := &response.Responses[0].PartitionResponses[0]
	if p.ErrorCode != kafka.None {
		message := ""
		if p.ErrorMessage != nil {
			message = *p.ErrorMessage
		}
		return refusal{fmt.Errorf("writer %d (idempotent: %v), records %d to %d of %s-%d: %w %s", w.id, w.idempotent, b.first, int(b.first)+b.count-1, w.to.topic, w.to.partition, p.ErrorCode, message)}
	}
	w.unanswered = w.unanswered[1:]
	w.acked += b.count
	if p.BaseOffset < 0 {
		return refusal{fmt.Errorf("writer %d: records %d on are acknowledged without an offset", w.id, b.first)}
	}
	if err := w.to.acknowledged(p.BaseOffset, w.id, b.first, b.count); err != nil {
		return refusal{err}
	}
	return nil
}
