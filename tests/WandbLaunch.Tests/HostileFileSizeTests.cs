using System.Diagnostics;
using WandbLaunch.Wandb;
using static WandbLaunch.Tests.HostileFileTests;

namespace WandbLaunch.Tests;

/// <summary>What files cost the process that sends and takes them.</summary>
[Collection(ProcessCollection.Name)]
public sealed class HostileFileSizeTests
{
    [Fact]
    public async Task A_file_of_gigabytes_passes_both_ways_with_flat_memory_of_server_and_client()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        var size =
            Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_LONG") == "1" ? 10_000 * Megabyte : 1_200 * Megabyte;
        var database = NewDatabase("gigabytes");
        using var server = new FileServer(database);
        using var connection = await ConnectAsync(server.Url);
        var artifacts = new ArtifactApi(connection.Transport, connection.Api);
        var folder = Fixture.NewFolder("gigabytes-out");
        try
        {
            await connection.Api.UploadFilesAsync(Run, [("small", () => new Pattern(10 * Megabyte, 1))], default);
            GC.Collect();
            server.ForgetPeak();
            await File.WriteAllTextAsync("/proc/self/clear_refs", "5");
            var (serverBefore, clientBefore) = (server.PeakMemory, FileServer.Memory("self", "VmHWM"));
            var md5 = Md5(new Pattern(size, 2));
            var clock = Stopwatch.StartNew();
            void Say(string what) =>
                TestContext.Current.SendDiagnosticMessage(
                    $"{what}: {clock.Elapsed.TotalSeconds:0.0} s, peak of the server +{(server.PeakMemory - serverBefore) / Megabyte} MB, of the client +{(FileServer.Memory("self", "VmHWM") - clientBefore) / Megabyte} MB"
                );

            await connection.Api.UploadFilesAsync(Run, [("large.bin", () => new Pattern(size, 2))], default);
            Say($"uploaded {size / Megabyte} MB");
            var stored = new DirectoryInfo(database + ".files")
                .EnumerateFiles("*", SearchOption.AllDirectories)
                .Sum(f => f.Length);
            Assert.Equal(size + 10 * Megabyte, stored);

            // The same content as an artifact is there once.
            var (artifact, made) = await artifacts.LogAsync(
                Run,
                "dataset",
                "large",
                [new ArtifactContent("data/large.bin", () => new Pattern(size, 2))],
                [],
                null,
                null,
                default
            );
            Say("as an artifact");
            Assert.True(made);
            Assert.Equal(
                stored,
                new DirectoryInfo(database + ".files")
                    .EnumerateFiles("*", SearchOption.AllDirectories)
                    .Sum(f => f.Length)
            );

            var file = Assert.Single(await connection.Api.FilesAsync(Run, null, default), f => f.Name == "large.bin");
            Assert.Equal((size, md5), (file.Size, file.Md5));
            var path = await connection.Api.SaveFileAsync(file, folder, default);
            Say("downloaded");
            Assert.Equal(md5, Md5(File.OpenRead(path)));
            File.Delete(path);
            await artifacts.SaveAsync(artifact.Id, folder, default);
            Say("downloaded the artifact");
            Assert.Equal(md5, Md5(File.OpenRead(Path.Combine(folder, "data", "large.bin"))));

            // The kernel counts pages for each thread and adds them up now and then: a peak may seem to shrink by some.
            Assert.InRange(server.PeakMemory - serverBefore, -Megabyte, 200 * Megabyte);
            Assert.InRange(FileServer.Memory("self", "VmHWM") - clientBefore, -Megabyte, 200 * Megabyte);
        }
        finally
        {
            server.Dispose();
            Directory.Delete(Path.GetDirectoryName(database)!, true);
            Directory.Delete(folder, true);
        }
    }
}
