/* What a policy observes: one array of numbers, or several under the keys of the training.
 *
 * In:      arrays that the caller keeps; an Observation only points to them, so it is made once and used at every tick.
 * Out:     the observation as JSON, nested as the policy takes it.
 * Refuses: a number that is not finite (spec_violated), a shape of another size (usage).
 *
 *     float joints[6]; std::uint8_t camera[84 * 84];
 *     rlway::Observation observation;
 *     observation.add({"camera"}, camera, 84 * 84, {84, 84}).add({"joints", "arm"}, joints, 6);
 *
 *     float angles[2];
 *     rlway::Observation leg;
 *     leg.add_named({}, {"knee", "hip"}, angles); // where the policy's meaning has these names
 */
#ifndef RLWAY_OBSERVATION_HPP
#define RLWAY_OBSERVATION_HPP

#include "result.hpp"
#include "span.hpp"
#include "wire/json_writer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rlway {

using Path = std::vector<std::string>;   // the keys from the outermost on
using Shape = std::vector<std::size_t>;  // empty: one dimension

class Observation {
  public:
    Observation() = default;

    /* One array; in row-major order if it has a shape. */
    template <class T> Observation(const T *data, std::size_t size, Shape shape = {}) { add({}, data, size, shape); }
    template <class T, std::size_t n> Observation(const T (&numbers)[n]) { add({}, numbers, n); }

    /* One of several arrays. Parts that share keys have to follow one another, as in the manifest. */
    template <class T> Observation &add(Path path, const T *data, std::size_t size, Shape shape = {})
    {
        if (shape.empty()) shape = {size};
        return append_part(std::move(path), data, size, std::move(shape));
    }

    /* A single number without a dimension, such as a place in a list. */
    template <class T> Observation &add_number(Path path, const T *value)
    {
        return append_part(std::move(path), value, 1, {});
    }

    /* An array whose elements go by the names that the policy's meaning gives them, here in the order of the array. */
    template <class T> Observation &add_named(const Path &path, const std::vector<std::string> &names, const T *data)
    {
        for (std::size_t i = 0; i < names.size(); ++i) {
            Path place = path;
            place.push_back(names[i]);
            add_number(std::move(place), data + i);
        }
        return *this;
    }

    /* How many numbers all parts have together. */
    std::size_t size() const
    {
        std::size_t sum = 0;
        for (const Part &part : parts_) sum += part.size;
        return sum;
    }

    /* The numbers of the only part; null if it has another type, or there are several parts. */
    template <class T> const T *numbers() const
    {
        const bool is_it = parts_.size() == 1 && parts_[0].append == &append_element<T>;
        return is_it ? static_cast<const T *>(parts_[0].data) : nullptr;
    }

    /* Appends the JSON of the observation, which may be one row of several. */
    Failure write(std::string &out, std::optional<std::size_t> row = {}) const
    {
        const Path *before = nullptr;
        if (parts_.empty()) return Error{Kind::usage, "observation: expected at least one array, got none; call add()."};
        for (const Part &part : parts_) {
            const Path &path = part.path;
            if (path.empty() && parts_.size() > 1)
                return Error{Kind::usage, "observation: expected a key for each of several arrays, got one without."};
            if (!path.empty()) {
                std::size_t shared = 0;
                if (before != nullptr) {
                    const auto most = std::min(before->size(), path.size()) - 1;
                    while (shared < most && (*before)[shared] == path[shared]) ++shared;
                    out.append(before->size() - 1 - shared, '}');
                }
                out += before == nullptr ? '{' : ',';
                for (auto i = shared; i < path.size(); ++i) {
                    wire::append_string(out, path[i]);
                    out += i + 1 < path.size() ? ":{" : ":";
                }
                before = &path;
            }
            if (auto failure = write(part, out, row)) return failure;
        }
        if (before != nullptr) out.append(before->size(), '}');
        return {};
    }

  private:
    using Append = bool (*)(std::string &, const void *, std::size_t);

    struct Part {
        Path path;
        const void *data;
        std::size_t size;
        Shape shape;
        Append append;
    };

    template <class T> static bool append_element(std::string &out, const void *data, std::size_t i)
    {
        return wire::append_number(out, static_cast<const T *>(data)[i]);
    }

    template <class T> Observation &append_part(Path path, const T *data, std::size_t size, Shape shape)
    {
        static_assert(std::is_arithmetic_v<T>, "an observation is made of numbers");
        parts_.push_back({std::move(path), data, size, std::move(shape), &append_element<T>});
        return *this;
    }

    static Failure write(const Part &part, std::string &out, std::optional<std::size_t> observation)
    {
        std::size_t size = 1;
        for (const auto dimension : part.shape) size *= dimension;
        if (size != part.size)
            return Error{Kind::usage, where(part, 0, 0, observation) + ": expected a shape of " + std::to_string(part.size) +
                                          " numbers, got one of " + std::to_string(size) + "."};
        for (std::size_t i = 0; i < part.size; ++i) {
            // A bracket for each dimension of which a row begins or ends here.
            std::size_t row = 1, begun = 0, ended = 0;
            for (auto dimension = part.shape.rbegin(); dimension != part.shape.rend(); ++dimension) {
                row *= *dimension;
                begun += i % row == 0;
                ended += (i + 1) % row == 0;
            }
            out += i != 0 ? "," : "";
            out.append(begun, '[');
            if (!part.append(out, part.data, i)) return not_finite(part, i, observation);
            out.append(ended, ']');
        }
        if (part.size == 0) out += "[]";
        return {};
    }

    static Error not_finite(const Part &part, std::size_t i, std::optional<std::size_t> observation)
    {
        double value = 0;
        if (part.append == &append_element<float>) value = static_cast<double>(static_cast<const float *>(part.data)[i]);
        if (part.append == &append_element<double>) value = static_cast<const double *>(part.data)[i];
        const char *got = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
        const auto place = where(part, i, part.shape.size(), observation);
        return {Kind::spec_violated, place + ": expected a finite number, got " + got};
    }

    /* The place of an element, as the server names it: `observation["joints"]["arm"][2]`. */
    static std::string where(const Part &part, std::size_t i, std::size_t dimensions, std::optional<std::size_t> observation)
    {
        std::string text = observation ? "observations[" + std::to_string(*observation) + "]" : "observation";
        for (const auto &key : part.path) {
            text += '[';
            wire::append_string(text, key);
            text += ']';
        }
        std::size_t row = part.size;
        for (std::size_t d = 0; d < dimensions; ++d) {
            row /= part.shape[d];
            text += '[' + std::to_string(i / row) + ']';
            i %= row;
        }
        return text;
    }

    std::vector<Part> parts_;
};

/* Numbers of one raw row or several: refused where the observation would be. */
template <class T> Failure check_finite(Span<const T> numbers)
{
    if constexpr (std::is_floating_point_v<T>)
        for (std::size_t i = 0; i < numbers.size; ++i)
            if (!std::isfinite(numbers.data[i])) {
                std::string unused;
                return Observation(numbers.data, numbers.size).write(unused);
            }
    return {};
}

} // namespace rlway

#endif
