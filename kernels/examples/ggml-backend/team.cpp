#include "team.hpp"

#include <algorithm>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace kinglet_ggml {

#ifdef _OPENMP

Team::~Team() = default;

void Team::resize(unsigned threads) { threads_ = std::max(threads, 1U); }

void Team::run(Job job, void *data) {
  if (threads_ == 1) return job(data, 0);
#pragma omp parallel num_threads(threads_)
  job(data, static_cast<unsigned>(omp_get_thread_num()));
}

#else

// A few microseconds: longer than most threads are late at the end of an operation.
constexpr int SPINS = 2000;

static void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

Team::~Team() { stop(); }

void Team::stop() {
  if (workers_.empty()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = nullptr;
    epoch_.fetch_add(1, std::memory_order_release);
  }
  begin_.notify_all();
  for (std::thread &worker : workers_) worker.join();
  workers_.clear();
}

void Team::resize(unsigned threads) {
  threads = std::max(threads, 1U);
  if (threads == threads_) return;
  stop();
  // A thread that the system refuses is done without.
  threads_ = 1;
  epoch_.store(0);
  workers_.reserve(threads - 1);
  for (; threads_ < threads; threads_++) workers_.emplace_back(&Team::work, this, threads_);
}

void Team::work(unsigned worker) {
  for (unsigned seen = 0;; seen++) {
    for (int i = 0; i < SPINS && epoch_.load(std::memory_order_acquire) == seen; i++) relax();
    if (epoch_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      begin_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
    }
    if (!job_) return;
    job_(data_, worker);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      // Held, so that the caller does not fall asleep between its look and its wait.
      std::lock_guard<std::mutex> lock(mutex_);
      end_.notify_one();
    }
  }
}

void Team::run(Job job, void *data) {
  if (workers_.empty()) return job(data, 0);
  busy_.store(static_cast<unsigned>(workers_.size()), std::memory_order_relaxed);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = job;
    data_ = data;
    epoch_.fetch_add(1, std::memory_order_release);
  }
  begin_.notify_all();
  job(data, 0);
  const auto done = [&] { return busy_.load(std::memory_order_acquire) == 0; };
  for (int i = 0; i < SPINS && !done(); i++) relax();
  if (!done()) {
    std::unique_lock<std::mutex> lock(mutex_);
    end_.wait(lock, done);
  }
}

#endif

}  // namespace kinglet_ggml
