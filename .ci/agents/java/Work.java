/** Work for a profiler to find: flameWorkHot takes three times as long as flameWorkCold. Work SECONDS */
public class Work {
    private static final byte[][] kept = new byte[16][];
    private static int number = 1;

    private static void burn(int times) {
        for (int i = 0; i < times * 20_000_000; i++) {
            number = number * 1103515245 + 12345;
        }
    }

    private static void flameWorkHot() {
        burn(3);
    }

    private static void flameWorkCold() {
        burn(1);
    }

    private static void flameWorkAllocate() {
        for (int at = 0; at < kept.length; at++) {
            kept[at] = new byte[64 << 10];
        }
    }

    public static void main(String[] arguments) {
        long end = System.nanoTime() + Long.parseLong(arguments[0]) * 1_000_000_000L;
        while (System.nanoTime() < end) {
            flameWorkHot();
            flameWorkCold();
            flameWorkAllocate();
        }
    }
}
