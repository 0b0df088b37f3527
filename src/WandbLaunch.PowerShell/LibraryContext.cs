using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace WandbLaunch;

/// <summary>Libraries of folders of the module, apart from what the process or other modules have loaded.</summary>
internal sealed class LibraryContext : AssemblyLoadContext
{
    // Beside the libraries: those of them that are compiled ahead, in a folder for each platform.
    private const string Compiled = "compiled";

    // An image of another version of .NET would be compiled again, method by method.
    private const int CompiledFor = 10;

    private readonly string[] _folders;
    private readonly string? _compiled;

    /// <param name="folder">Its libraries are taken before the process's own.</param>
    /// <param name="spare">Its libraries too, but those of the System namespace only where the runtime has none.</param>
    internal LibraryContext(string folder, string? spare = null)
        : base("WandbLaunch")
    {
        _folders = spare is null ? [folder] : [folder, spare];
        _compiled = Environment.Version.Major == CompiledFor ? Path.Combine(folder, Compiled, Platform()) : null;
        Resolving += (_, name) => Find(name) is { } path ? LoadFromAssemblyPath(path) : null;
    }

    protected override Assembly? Load(AssemblyName assemblyName) =>
        Find(assemblyName) is { } path
        && (
            Path.GetDirectoryName(path) != _folders[^1]
            || _folders.Length == 1
            || !assemblyName.Name!.StartsWith("System.", StringComparison.Ordinal)
        )
            ? LoadFromAssemblyPath(path)
            : null;

    protected override IntPtr LoadUnmanagedDll(string unmanagedDllName)
    {
        var name =
            OperatingSystem.IsWindows() ? unmanagedDllName + ".dll"
            : OperatingSystem.IsMacOS() ? $"lib{unmanagedDllName}.dylib"
            : $"lib{unmanagedDllName}.so";
        var path = Path.Combine(_folders[0], "runtimes", Platform(), "native", name);
        return File.Exists(path) ? LoadUnmanagedDllFromPath(path) : 0;
    }

    private static string Platform()
    {
        var system =
            OperatingSystem.IsWindows() ? "win"
            : OperatingSystem.IsMacOS() ? "osx"
            : RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal)
            || RuntimeInformation.RuntimeIdentifier.StartsWith("alpine", StringComparison.Ordinal)
                ? "linux-musl"
            : "linux";
        return $"{system}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
    }

    private string? Find(AssemblyName name)
    {
        foreach (var folder in (string?[])[_compiled, .. _folders])
        {
            if (folder is not null && Path.Combine(folder, name.Name + ".dll") is var path && File.Exists(path))
            {
                return path;
            }
        }

        return null;
    }
}
