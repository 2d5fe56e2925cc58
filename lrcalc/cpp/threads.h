// Work that is shared by threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace {

// work(part, parts) for each part, in as many threads, but no more parts than `pieces`.
template <class Work>
void in_parts(int64_t pieces, int64_t threads, Work work) {
    const int64_t parts = std::max<int64_t>(1, std::min(threads, pieces));
    std::vector<std::thread> others;
    for (int64_t part = 1; part < parts; ++part) {
        try {
            others.emplace_back(work, part, parts);
        } catch (const std::system_error &) {  // no more threads to be had
            work(part, parts);
        }
    }
    work(0, parts);
    for (std::thread &other : others) other.join();
}

}  // namespace
