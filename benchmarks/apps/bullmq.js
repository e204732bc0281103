// The same no-op job on BullMQ: `add <socket> <jobs>` or `work <socket> <concurrency>`.
const fs = require("fs");
const { Queue, Worker } = require("bullmq");
const [verb, path, number] = process.argv.slice(2);
const connection = { path, maxRetriesPerRequest: null };
async function add(jobs) {
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  const began = process.hrtime.bigint();
  for (let n = 0; n < jobs; n += 500) {
    await queue.addBulk(Array.from({ length: Math.min(500, jobs - n) }, (_, i) => ({ name: "tick", data: { n: n + i } })));
  }
  console.log(jobs / (Number(process.hrtime.bigint() - began) / 1e9));
  await queue.close();
}
function work(concurrency) {
  const out = fs.openSync(process.env.BENCH_FILE, "a");
  const worker = new Worker("bench", async () => { fs.writeSync(out, "."); }, { connection, concurrency });
  process.on("SIGINT", async () => { await worker.close(true); process.exit(0); });
}
verb === "add" ? add(+number) : work(+number);
