namespace WandbLaunch.Resources;

/// <summary>Makes images with a run's code and packages in them, and brings them to a registry, for engines that fetch them from there.</summary>
internal interface IImageMaker
{
    /// <summary>The name of the image of a run: what is made of the same has the same.</summary>
    string ImageOf(ResourceRequest request, string repository);

    /// <summary>What the registry has under a name; null too where it cannot be asked.</summary>
    Task<RegistryImage?> FindAsync(string image, CancellationToken token);

    /// <summary>Makes it and brings it there, unless it is there.</summary>
    Task<BroughtImage> BringAsync(
        ResourceRequest request,
        string image,
        IProgress<Foundation.LaunchProgress> progress,
        CancellationToken token
    );
}

/// <summary>An image that a registry has.</summary>
/// <param name="Digest">What is known by it is this very content; null where the registry does not say.</param>
internal sealed record RegistryImage(string? Digest);

/// <summary>An image that was brought to its registry.</summary>
/// <param name="Digest">Its content's own name there, where the registry says it.</param>
/// <param name="Warning">What the user should know, such as packages that could not be installed.</param>
internal sealed record BroughtImage(string? Digest, string? Warning);
