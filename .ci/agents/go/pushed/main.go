// Pushed works under Pyroscope's profiler: pushed SERVICE.
package main

import (
	"log"
	"os"
	"time"

	"github.com/grafana/pyroscope-go"

	"agents/work"
)

func main() {
	_, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: os.Args[1],
		ServerAddress:   os.Getenv("FLAMESTORE_SERVER"),
		Tags:            map[string]string{"region": "eu"},
		Logger:          pyroscope.StandardLogger,
		UploadRate:      5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	work.Forever()
}
