using System.Globalization;
using System.Runtime.InteropServices;

namespace WandbLaunch.Foundation;

/// <summary>A program that has a .NET runtime for the module's own programs.</summary>
/// <param name="Path">The program.</param>
/// <param name="IsShell">True for a pwsh with the runtime in its own folder, false for dotnet.</param>
/// <param name="HasWebServer">True where ASP.NET Core is there too.</param>
internal sealed record OwnRuntime(string Path, bool IsShell, bool HasWebServer)
{
    private const int OldestMajor = 8;

    /// <summary>Finds one: a dotnet that fits, else a pwsh that brings its own .NET. <c>WANDBLAUNCH_RUNTIME</c> asks for <c>dotnet</c> or <c>pwsh</c>.</summary>
    /// <exception cref="LaunchException"><c>RuntimeNotFound</c>.</exception>
    internal static OwnRuntime Find(LaunchEnvironment environment)
    {
        var wanted = environment["WANDBLAUNCH_RUNTIME"];
        if (wanted is not (null or "dotnet" or "pwsh"))
        {
            throw new LaunchException(
                "RuntimeUnknown",
                LaunchErrorCategory.InvalidArgument,
                $"WANDBLAUNCH_RUNTIME is '{wanted}'. It may be 'dotnet' or 'pwsh'; without it, the one that fits is taken.",
                wanted
            );
        }

        return Candidates(environment).FirstOrDefault(r => wanted is null || r.IsShell == (wanted == "pwsh"))
            ?? throw new LaunchException(
                "RuntimeNotFound",
                LaunchErrorCategory.ResourceUnavailable,
                wanted is null
                    ? "This needs a .NET runtime (8 or newer), and neither a pwsh that brings one nor a dotnet program with one is here. Install PowerShell from its own package, or .NET from https://dot.net, or set DOTNET_ROOT."
                    : $"WANDBLAUNCH_RUNTIME asks for {wanted}, and there is no {wanted} with a .NET runtime (8 or newer) here. Remove the variable to let another be taken.",
                wanted ?? "dotnet"
            );
    }

    private static IEnumerable<OwnRuntime> Candidates(LaunchEnvironment environment)
    {
        var own = Environment.ProcessPath;
        var dotnet = environment.IsWindows ? "dotnet.exe" : "dotnet";
        string?[] programs =
        [
            own is not null && System.IO.Path.GetFileName(own) == dotnet ? own : null,
            // The one whose runtime this process is on: a pwsh of a package manager that shares it.
            System.IO.Path.GetFullPath(
                System.IO.Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", dotnet)
            ),
            environment["DOTNET_ROOT"] is { } root ? System.IO.Path.Combine(root, dotnet) : null,
            ProgramPath.Find("dotnet"),
            environment.IsWindows
                ? System.IO.Path.Combine(
                    Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles),
                    "dotnet",
                    dotnet
                )
                : "/usr/share/dotnet/dotnet",
            "/usr/lib/dotnet/dotnet",
            "/usr/local/share/dotnet/dotnet",
            System.IO.Path.Combine(environment.Home, ".dotnet", dotnet),
        ];
        foreach (var program in programs)
        {
            if (program is not null && File.Exists(program) && HasFramework(program, "Microsoft.NETCore.App"))
            {
                yield return new OwnRuntime(program, false, HasFramework(program, "Microsoft.AspNetCore.App"));
            }
        }

        var pwsh = environment.IsWindows ? "pwsh.exe" : "pwsh";
        string?[] shells =
        [
            own is not null && System.IO.Path.GetFileName(own) == pwsh ? own : null,
            System.IO.Path.Combine(AppContext.BaseDirectory, pwsh),
            ProgramPath.Find("pwsh") is { } found ? Real(found) : null,
        ];
        foreach (var shell in shells)
        {
            if (shell is not null && File.Exists(shell) && BringsRuntime(System.IO.Path.GetDirectoryName(shell)!))
            {
                yield return new OwnRuntime(shell, true, false);
            }
        }
    }

    // PATH may name a link; the frameworks are beside the real program. A wrapper has none beside it and is passed over.
    private static bool HasFramework(string program, string name)
    {
        var folder = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Real(program))!, "shared", name);
        return Directory.Exists(folder)
            && Directory
                .EnumerateDirectories(folder)
                .Select(f => System.IO.Path.GetFileName(f).Split('.')[0])
                .Any(v => int.TryParse(v, CultureInfo.InvariantCulture, out var major) && major >= OldestMajor);
    }

    private static bool BringsRuntime(string folder)
    {
        return Has("pwsh.dll") && (Has("coreclr.dll") || Has("libcoreclr.so") || Has("libcoreclr.dylib"));

        bool Has(string name) => File.Exists(System.IO.Path.Combine(folder, name));
    }

    private static string Real(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, true)?.FullName ?? path;
        }
        catch (IOException)
        {
            return path;
        }
    }
}
