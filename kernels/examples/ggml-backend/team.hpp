// Threads that take parts of one operation after another.
#pragma once
#ifndef _OPENMP
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace kinglet_ggml {

// With OpenMP its threads, which are those of ggml's CPU backend too: operations of the two take turns, and threads of another pool would
// share their cores with OpenMP's, which spin for a while after each. Else threads of its own, that spin briefly and sleep.
class Team {
 public:
  Team() = default;
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  // The caller's thread is one of them.
  void resize(unsigned threads);
  unsigned threads() const { return threads_; }

  // Calls `f(worker)` on all threads, `worker < threads()`, and returns when all have returned. There may be fewer threads than wanted:
  // `f` takes work until there is none. It must not throw.
  template <class F>
  void run(F &f) {
    run([](void *data, unsigned worker) { (*static_cast<F *>(data))(worker); }, &f);
  }

 private:
  using Job = void (*)(void *, unsigned);
  void run(Job job, void *data);

  unsigned threads_ = 1;
#ifndef _OPENMP
  void work(unsigned worker);
  void stop();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  // Counts operations; changed with the mutex held, so that nobody falls asleep over it.
  std::atomic<unsigned> epoch_{0};
  // Workers that are not done with the current one.
  std::atomic<unsigned> busy_{0};
  // Of the current operation, written before `epoch_`.
  Job job_ = nullptr;
  void *data_ = nullptr;
#endif
};

}  // namespace kinglet_ggml
