/* A view on numbers that somebody else keeps. */
#ifndef RLWAY_SPAN_HPP
#define RLWAY_SPAN_HPP

#include <array>
#include <cstddef>
#include <string_view>
#include <type_traits>
#include <vector>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "raw rows are little-endian, and this library does not turn bytes around"
#endif

namespace rlway {

template <class T> struct Span {
    using Number = std::remove_const_t<T>;

    T *data = nullptr;
    std::size_t size = 0;

    Span(T *first, std::size_t count) : data(first), size(count) {}
    template <std::size_t n> Span(T (&numbers)[n]) : data(numbers), size(n) {}
    template <std::size_t n> Span(std::array<Number, n> &numbers) : data(numbers.data()), size(n) {}
    template <std::size_t n> Span(const std::array<Number, n> &numbers) : data(numbers.data()), size(n) {}
    Span(std::vector<Number> &numbers) : data(numbers.data()), size(numbers.size()) {}
    Span(const std::vector<Number> &numbers) : data(numbers.data()), size(numbers.size()) {}
    Span(const Span<Number> &other) : data(other.data), size(other.size) {}

    std::string_view bytes() const { return {reinterpret_cast<const char *>(data), size * sizeof(T)}; }
};

} // namespace rlway

#endif
