"""The ONNX file: conversion, simplification, float16."""
