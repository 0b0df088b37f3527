using System.Diagnostics;
using System.Text.Json;

namespace WandbLaunch.PesterTests;

/// <summary>Has <c>dotnet test</c> run Pester too: each file in a pwsh of its own, each of its tests a test here.</summary>
public sealed class PesterTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(10);

    private static readonly string Sources = FindSources();

    /// <summary>One test of Pester, or a file or block that could not be run.</summary>
    public sealed record Outcome(string Name, string Result, string? Message)
    {
        /// <summary>What xunit writes behind the test's name.</summary>
        public override string ToString() => Result;
    }

    public static TheoryData<Outcome> Outcomes()
    {
        var files = Directory.GetFiles(Path.Combine(Sources, "tests", "Pester"), "*.Tests.ps1").Order().ToList();
        var outcomes = new Outcome[files.Count][];
        // Each has a home folder and a server of its own; what they wait for is mostly not the processor.
        Parallel.For(
            0,
            files.Count,
            new ParallelOptions { MaxDegreeOfParallelism = 2 },
            i => outcomes[i] = Run(files[i])
        );
        var data = new TheoryData<Outcome>();
        foreach (var outcome in outcomes.SelectMany(o => o))
        {
            data.Add(
                new TheoryDataRow<Outcome>(outcome)
                {
                    TestDisplayName = outcome.Name,
                    Skip = outcome.Result == "Skipped" ? "skipped in Pester" : null,
                }
            );
        }

        return data;
    }

    [Theory(DisableDiscoveryEnumeration = true)]
    [MemberData(nameof(Outcomes))]
    public void Pester(Outcome outcome) =>
        Assert.True(outcome.Result == "Passed", $"{outcome.Name}\n{outcome.Message}");

    private static Outcome[] Run(string file)
    {
        var name = Path.GetFileName(file);
        var results = Path.GetTempFileName();
        try
        {
            var start = new ProcessStartInfo(
                "dotnet",
                ["tool", "run", "pwsh", "-NoProfile", "-File", "tests/Pester/Invoke-Tests.ps1", file, results]
            )
            {
                WorkingDirectory = Sources,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            start.Environment["NO_COLOR"] = "1";
            // Of the MSBuild that runs these tests.
            start.Environment.Remove("MSBuildSDKsPath");
            start.Environment.Remove("MSBUILD_EXE_PATH");
            using var process = Process.Start(start)!;
            process.StandardInput.Close();
            var output = process.StandardOutput.ReadToEndAsync();
            var error = process.StandardError.ReadToEndAsync();
            if (!process.WaitForExit(Limit))
            {
                process.Kill(true);
                return [new Outcome(name, "Failed", $"It did not end within {Limit}.\n{output.Result}{error.Result}")];
            }

            var text = File.ReadAllText(results);
            return text.Length > 0 && JsonSerializer.Deserialize<Outcome[]>(text) is { Length: > 0 } outcomes
                ? outcomes
                : [new Outcome(name, "Failed", $"No test ran.\n{output.Result}{error.Result}")];
        }
        finally
        {
            File.Delete(results);
        }
    }

    private static string FindSources()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "WandbLaunch.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }
}
