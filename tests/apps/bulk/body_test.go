package main

import (
	"bytes"
	"io"
	"testing"
)

const length = 3*blockBytes + 1000

func whole(t *testing.T) []byte {
	stream, err := io.ReadAll(newBody(length, false))
	if err != nil || len(stream) != length {
		t.Fatalf("%d bytes, %v", len(stream), err)
	}
	return stream
}

func TestAWholeStreamIsGood(t *testing.T) {
	if err := check(bytes.NewReader(whole(t)), length, false); err != nil {
		t.Error(err)
	}
}

func TestLossAndChangeAreSeen(t *testing.T) {
	swapped := append([]byte{}, whole(t)...)
	copy(swapped, whole(t)[blockBytes:2*blockBytes])
	copy(swapped[blockBytes:], whole(t)[:blockBytes])
	altered := whole(t)
	altered[blockBytes+9] ^= 1
	for name, stream := range map[string][]byte{
		"short":          whole(t)[:length-1],
		"empty":          nil,
		"long":           append(whole(t), 0),
		"swapped blocks": swapped,
		"altered bit":    altered,
	} {
		if check(bytes.NewReader(stream), length, false) == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
