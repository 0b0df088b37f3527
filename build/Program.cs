using System.Diagnostics;

// dotnet run --project build -- TASK [WORDS]: build.ps1 for a machine that has the .NET SDK and no pwsh.
var root = new DirectoryInfo(AppContext.BaseDirectory);
while (!File.Exists(Path.Combine(root.FullName, "WandbLaunch.sln")))
{
    root = root.Parent ?? throw new InvalidOperationException("This program runs in the folder of its sources.");
}

// Ctrl+C reaches the programs below too, and they say when all is ended.
Console.CancelKeyPress += (_, e) => e.Cancel = true;

var code = Dotnet(
    "build",
    "tools/PowerShell",
    "--nologo",
    "--verbosity",
    "quiet",
    "-consoleLoggerParameters:ErrorsOnly"
);
return code != 0 ? code : Dotnet(["tool", "run", "pwsh", "-NoProfile", "-File", "build.ps1", .. args]);

int Dotnet(params string[] words)
{
    var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", words)
    {
        WorkingDirectory = root.FullName,
    };
    // "dotnet run" sets these for its own MSBuild; another one must find its own.
    foreach (
        var name in start
            .Environment.Keys.Where(k => k.StartsWith("MSBuild", StringComparison.OrdinalIgnoreCase))
            .ToList()
    )
    {
        start.Environment.Remove(name);
    }

    using var process = Process.Start(start)!;
    process.WaitForExit();
    return process.ExitCode;
}
