namespace WandbLaunch.Resources;

/// <summary>Makes images with a run's code and packages in them, and brings them to a registry, for engines that fetch them from there.</summary>
internal interface IImageMaker
{
    /// <summary>The name of the image of a run: what is made of the same has the same.</summary>
    string ImageOf(ResourceRequest request, string repository);

    /// <summary>True when the registry has it. False too where it cannot be asked.</summary>
    Task<bool> IsInRegistryAsync(string image, CancellationToken token);

    /// <summary>Makes it and brings it there, unless it is there.</summary>
    /// <returns>What the user should know, such as packages that could not be installed.</returns>
    Task<string?> BringAsync(
        ResourceRequest request,
        string image,
        IProgress<Foundation.LaunchProgress> progress,
        CancellationToken token
    );
}
