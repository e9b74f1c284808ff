/** Does something about all, in their order, of which few are under way at the same time. */
export async function inTurns<T>(all: readonly T[], atOnce: number, work: (each: T, at: number) => Promise<void>): Promise<void> {
  let next = 0;
  const turn = async () => {
    while (next < all.length) {
      const at = next++;
      await work(all[at] as T, at);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, turn));
}
