// Package work gives a profiler something to find: FlameWorkHot takes three times as long as FlameWorkCold.
package work

var (
	number uint32 = 1
	kept   [16][]byte
)

//go:noinline
func burn(times int) {
	for range times * 20_000_000 {
		number = number*1103515245 + 12345
	}
}

//go:noinline
func FlameWorkHot() { burn(3) }

//go:noinline
func FlameWorkCold() { burn(1) }

//go:noinline
func FlameWorkAllocate() {
	for at := range kept {
		kept[at] = make([]byte, 64<<10)
	}
}

// Forever does it until the process is ended.
func Forever() {
	for {
		FlameWorkHot()
		FlameWorkCold()
		FlameWorkAllocate()
	}
}
