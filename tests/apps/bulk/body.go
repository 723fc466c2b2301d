package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand"
	"time"
)

const blockBytes = 64 << 10

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noise      = func() []byte {
		block := make([]byte, blockBytes)
		rand.New(rand.NewSource(1)).Read(block)
		return block
	}()
)

// A body is a stream of blocks, each noise with its number in front.
type body struct {
	length, at int64
	isSlow     bool
	block      [blockBytes]byte
}

func newBody(length int64, isSlow bool) *body {
	b := &body{length: length, isSlow: isSlow}
	copy(b.block[:], noise)
	return b
}

func (b *body) Read(into []byte) (int, error) {
	if b.at == b.length {
		return 0, io.EOF
	}
	inBlock := b.at % blockBytes
	if b.isSlow && inBlock == 0 {
		pauseWithin(b.at, b.length)
	}
	binary.BigEndian.PutUint64(b.block[:], uint64(b.at/blockBytes))
	rest := b.block[inBlock:]
	if left := b.length - b.at; left < int64(len(rest)) {
		rest = rest[:left]
	}
	n := copy(into, rest)
	b.at += int64(n)
	return n, nil
}

// check reads all of a body and compares count and checksum with what newBody makes.
func check(from io.Reader, length int64, isSlow bool) error {
	want := newBody(length, false)
	got, expected := crc32.New(castagnoli), crc32.New(castagnoli)
	piece, wanted := make([]byte, blockBytes), make([]byte, blockBytes)
	var at int64
	for {
		if isSlow && at < length {
			pauseWithin(at, length)
		}
		n, err := io.ReadFull(from, piece)
		m, _ := io.ReadFull(want, wanted)
		got.Write(piece[:n])
		expected.Write(wanted[:m])
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", at, err)
		}
	}
	if at != length {
		return fmt.Errorf("%d bytes arrived of %d", at, length)
	}
	if got.Sum32() != expected.Sum32() {
		return fmt.Errorf("all %d bytes arrived, but not as they were sent", length)
	}
	return nil
}

// pauseWithin pauses if a block that begins at `at` is the first of a part of the body.
func pauseWithin(at, length int64) {
	if part := length/pauses + 1; at%part < blockBytes {
		time.Sleep(pauseLength)
	}
}
