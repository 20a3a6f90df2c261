// Children in a row, named "0", "1", ...: the keys that torch.nn.ModuleList gives them.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

namespace lorikeet {

template <class T>
struct ModuleList : torch::nn::Module {
  template <class... Args>
  std::shared_ptr<T> add(Args&&... args) {
    items.push_back(register_module(std::to_string(items.size()), std::make_shared<T>(std::forward<Args>(args)...)));
    return items.back();
  }
  auto begin() const { return items.begin(); }
  auto end() const { return items.end(); }
  size_t size() const { return items.size(); }
  T& operator[](size_t index) const { return *items.at(index); }

  std::vector<std::shared_ptr<T>> items;
};

}  // namespace lorikeet
